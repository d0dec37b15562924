"""The triton engine over networks, encodings, data terms and optimisers, against torch in float64.

Without a GPU all of it runs in Triton's interpreter, launch by launch; what a GPU adds is the graph around it
(tests marked gpu). A configuration takes seconds there, so most of them are marked slow.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import tests.triton_kernels  # skips this file where Triton cannot run

# isort: split
import torch
from triton.runtime.errors import OutOfResources

from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.engines.triton import TritonEngine
from dipedge.errors import EngineError, InputError, OutOfMemoryError
from dipedge.optimisers import Muon
from dipedge.priors import Fourier, GivenImage, Hourglass, Level, Noise, Prior
from dipedge.tasks import Denoise, Inpaint, SuperResolve
from tests.configurations import (
    CONFIGURATIONS,
    assert_bfloat16_evaluation,
    assert_evaluation,
    prepared,
    reference,
    relative,
)

pytestmark = pytest.mark.triton_interpret
assert tests.triton_kernels.DEVICE
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

QUICK = (
    "stride, bilinear, reflection",
    "max, bilinear, reflection",
    "lanczos2, nearest, reflection",
    "decimation by 3",
    "learned frequencies into a 3x3 skip",
    "subsampled, learned, bilinear",
    "subsampled, one level",
    "channels of one",
)
ALL = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGURATIONS]
SMALL = (Level(16, 16, 4, 1, 1),)


@pytest.mark.parametrize("name", ALL)
def test_output_loss_and_gradients_are_those_of_torch_in_float64(name):
    seed, wanted = reference(name)
    program = prepared("triton", "fp32", name, seed)
    found = program.evaluate()
    program.close()
    assert_evaluation(found, wanted)


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK[5:7] else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGURATIONS],
)
def test_bfloat16_gives_the_output_of_float64_and_the_direction_of_its_gradients(name, monkeypatch):
    prior, task, shape = CONFIGURATIONS[name]
    straight = replace(prior, network=replace(prior.network, slope=1.0))
    monkeypatch.setitem(CONFIGURATIONS, name, (straight, task, shape))
    answers = []
    for engine, precision in (("triton", "bf16"), ("torch", "fp64")):
        program = prepared(engine, precision, name, seed=0)
        answers.append(program.evaluate())
        program.close()
    assert_bfloat16_evaluation(*answers, maxima=prior.network.downsample == "max")


@pytest.mark.parametrize(
    "name", ["stride, bilinear, reflection", pytest.param("max, nearest, zero", marks=pytest.mark.slow)]
)
def test_convolutions_of_the_library_give_the_same(name):
    seed, wanted = reference(name)
    program = prepared(TritonEngine(convolutions="library"), "fp32", name, seed)
    assert_evaluation(program.evaluate(), wanted)
    with pytest.raises(InputError, match="must be 'triton' or 'library'"):
        TritonEngine(convolutions="other")


def pointwise(**changes) -> Prior:
    return replace(Prior(Fourier(4, 16.0), Hourglass(SMALL), name="small"), **changes)


def program_of(engine, prior, task=None, shape=(5, 6, 3), **settings):
    """A program with a target, z and mask drawn from one seed, whatever the engine."""
    settings = Settings(**{"seed": 5, "precision": "fp32", **settings})
    program = get_engine(engine).compile(prior, task or Denoise(), shape, settings)
    give_data(program, prior, task or Denoise(), shape)
    return program


def give_data(program, prior, task, shape, seed=1):
    draws = np.random.default_rng(seed)
    scale = task.data_term.scale
    target = draws.random((-(-shape[0] // scale), -(-shape[1] // scale), shape[2]), np.float32)
    if isinstance(prior.encoding, GivenImage):
        program.set_input(draws.random((*shape[:2], prior.encoding.channels), np.float32))
    mask = draws.random(shape[:2]) > 0.5 if task.data_term.kind == "mask" else None
    program.set_target(target, mask)


FITS = {
    "Fourier": (pointwise(), None, {}),
    "perturbed frequencies, mask": (
        pointwise(encoding=Fourier(4, 16.0, learned=True), perturbation=0.03, perturb="frequencies"),
        Inpaint(None),
        {},
    ),
    "perturbed noise": (
        Prior(Noise(5), Hourglass((Level(8, 8, 4),)), perturbation=1 / 30),
        None,
        {},
    ),
    "decimated": (Prior(Noise(3), Hourglass((Level(8, 8, 2),)), perturbation=0.1), SuperResolve(2), {}),
    "subsampled": (pointwise(), None, {"subsample": True}),
    "Muon": (pointwise(), None, {"optimiser": Muon(0.05, hold=1, decay=2, final=0.5)}),
    "subsampled Muon": (pointwise(), None, {"subsample": True, "optimiser": Muon(0.05)}),
}


@pytest.mark.parametrize("name", FITS)
def test_steps_are_those_of_the_native_engine(name):
    """The same weights, noise and positions: both draw them from the same counters."""
    prior, task, settings = FITS[name]
    task = task or Denoise()
    shape = (4, 6, 3) if task.data_term.scale > 1 else (5, 6, 3)
    ours, native = (program_of(e, prior, task, shape, **settings) for e in ("triton", "native"))
    for _ in range(4):
        ours.step()
        native.step()
        assert ours.complete == native.complete
        assert ours.loss() == pytest.approx(native.loss(), rel=1e-4)
    for averaged in (True, False):
        assert relative(ours.estimate(averaged), native.estimate(averaged)) < 1e-3
    found, wanted = ours.state(), native.state()
    assert set(found) == set(wanted)
    moved = [key for key in wanted if key.startswith("param/") and key.endswith("conv.weight")]
    for key in moved:
        assert relative(found[key], wanted[key]) < 5e-3, key
    ours.close()
    native.close()


def test_many_steps_at_once_are_as_many_single_ones_to_the_bit():
    prior = pointwise(encoding=Fourier(4, 16.0, learned=True), perturbation=0.03, perturb="frequencies")
    states = []
    for parts in ((1,) * 9, (1, 8)):
        program = program_of("triton", prior)
        for count in parts:
            program.step(count)
        states.append((program.state(), program.losses(9)))
        program.close()
    (one, losses), (other, again) = states
    assert losses == again and len(set(losses)) == 9
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []


@pytest.mark.parametrize("subsample", [False, True])
def test_a_loaded_state_goes_on_to_the_bit(subsample):
    whole = program_of("triton", pointwise(), subsample=subsample)
    whole.step(2)
    kept = whole.state()
    whole.step(4)
    other = program_of("triton", pointwise(), subsample=subsample, seed=77)
    other.load_state(kept)
    assert other.loss() == pytest.approx(float(kept["loss"]))
    other.step(4)
    found, wanted = other.state(), whole.state()
    assert [key for key in wanted if not np.array_equal(found[key], wanted[key])] == []


def test_two_evaluations_are_equal_to_the_bit_and_change_nothing():
    program = program_of("triton", pointwise())
    program.step(2)
    before, first, second, after = program.state(), program.evaluate(), program.evaluate(), program.state()
    assert np.array_equal(first.output, second.output) and first.loss == second.loss
    for found, again in ((first.gradients, second.gradients), (before, after)):
        assert [key for key in found if not np.array_equal(found[key], again[key])] == []


@pytest.mark.parametrize("subsample", [False, True])
def test_fits_together_are_those_fitted_alone_to_the_bit(subsample):
    """Each with its own seed, target, statistics and drawn positions."""
    prior, shape, seeds = pointwise(), (5, 6, 3), (3, 2**63 + 4)
    settings = [Settings(seed=seed, precision="fp32", subsample=subsample) for seed in seeds]
    together = TritonEngine().compile_together(prior, Denoise(), shape, settings)
    for index, member in enumerate(together.members):
        give_data(member, prior, Denoise(), shape, seed=index)
    together.step(4)
    for index, (member, own) in enumerate(zip(together.members, settings, strict=True)):
        alone = TritonEngine().compile(prior, Denoise(), shape, own)
        give_data(alone, prior, Denoise(), shape, seed=index)
        alone.step(4)
        found, wanted = member.state(), alone.state()
        assert [key for key in wanted if not np.array_equal(found[key], wanted[key])] == []
    assert not np.array_equal(together.members[0].estimate(), together.members[1].estimate())
    with pytest.raises(EngineError, match="together with others"):
        together.members[0].step()
    together.close()
    with pytest.raises(EngineError, match="closed"):
        together.members[1].loss()


def test_a_new_frame_goes_on_from_the_weights_and_is_seen_whole_at_once():
    program = program_of("triton", pointwise(), subsample=True)
    program.step(5)
    program.set_target(np.full(program.shape, 0.25, np.float32))
    program.step(1)
    assert program.complete and program.steps_done == 6
    program.step(1)
    assert not program.complete


def test_losses_of_a_stretch_are_remembered():
    program = program_of("triton", pointwise())
    seen = []
    for _ in range(4):
        program.step()
        seen.append(program.loss())
    assert program.losses(4) == seen and program.losses(2) == seen[2:]


def test_sample_gives_the_raw_output_at_flat_pixels():
    program = program_of("triton", pointwise())
    program.step(2)
    pixels = np.array([0, 29, 13])
    assert np.array_equal(program.sample(pixels), program.estimate(False).reshape(-1, 3)[pixels])


def test_memory_is_counted_before_it_is_taken():
    engine, prior = TritonEngine(), pointwise()
    small, large = (
        engine.compile(prior, Denoise(), (side, side, 3), Settings(precision="fp32")).memory_bytes
        for side in (16, 32)
    )
    assert small < large
    program = engine.compile(prior, Denoise(), (16, 16, 3), Settings(precision="fp32"))
    held = sum(
        tensor.numel() * tensor.element_size()
        for tensor in (program._fits.parameters.values, program._fits.term.output)
    )
    assert 4 * held < program.memory_bytes < 100 * held


def test_a_picture_larger_than_memory_is_one_sentence_that_says_what_would_work(monkeypatch):
    engine = TritonEngine()
    monkeypatch.setattr(engine, "_device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (600 * 2**20, 2**30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    with pytest.raises(OutOfMemoryError, match=r"needs \d+ MiB.*344 MiB are free; smaller tiles") as caught:
        engine.compile(Prior(Noise(), Hourglass()), Denoise(), (1024, 1024, 3), Settings())
    assert caught.value.needed > 2**30


@pytest.mark.parametrize(
    ("raised", "error", "words"),
    [
        (
            OutOfResources(300000, 232448, "shared memory"),
            EngineError,
            "failed on this GPU: out of resource: shared",
        ),
        (
            RuntimeError("CUDA error: no kernel image\nmore"),
            EngineError,
            "no kernel image; engine='native' runs",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory"),
            OutOfMemoryError,
            r"needs \d+ MiB of device memory; smaller",
        ),
    ],
)
def test_what_fails_on_the_device_is_one_sentence_that_says_what_works(raised, error, words, monkeypatch):
    program = program_of("triton", pointwise())

    def fails(*arguments):
        raise raised

    monkeypatch.setattr(program._fits, "_launch", fails)
    with pytest.raises(error, match=words) as caught:
        program.step()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "shape", "error", "words"),
    [
        ({"precision": "fp64"}, (8, 8, 3), EngineError, "no precision 'fp64'; it takes auto, bf16, fp32"),
        ({}, (8, 0, 3), InputError, "sides of 1 or more"),
        ({"subsample": True}, (8, 8, 3), EngineError, "subsample cannot be used"),
    ],
)
def test_what_cannot_be_had_is_an_error_that_says_why(settings, shape, error, words):
    prior = Prior(Noise(3), Hourglass((Level(8, 8, 2),)))
    with pytest.raises(error, match=words):
        TritonEngine().compile(prior, Denoise(), shape, Settings(**settings))


def test_what_is_missing_before_a_step_is_said():
    prior = Prior(GivenImage(3), Hourglass((Level(8, 8, 2),)))
    program = TritonEngine().compile(prior, Denoise(), (8, 8, 3), Settings(precision="fp32"))
    with pytest.raises(EngineError, match="no step"):
        program.loss()
    with pytest.raises(InputError, match="no target"):
        program.step()
    program.set_target(np.zeros((8, 8, 3), np.float32))
    with pytest.raises(InputError, match="set_input first"):
        program.step()
    with pytest.raises(InputError, match="this fit needs"):
        program.set_input(np.zeros((4, 8, 3)))
    with pytest.raises(InputError, match="unknown entry"):
        program.load_state({"nothing": np.zeros(1)})


@pytest.mark.gpu
@on_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("subsample", [False, True])
def test_replayed_steps_are_those_launched_one_by_one(precision, subsample, monkeypatch):
    """On a GPU: the graph of several steps against the same launches without one."""
    states = []
    for replayed in (True, False):
        program = program_of(
            "triton", pointwise(), shape=(70, 54, 3), precision=precision, subsample=subsample
        )
        if not replayed:
            monkeypatch.setattr(program._fits, "_run", program._fits._launch)
        program.step(1)
        program.step(30)
        states.append(program.state())
        program.close()
    one, other = states
    assert [key for key in one if not np.array_equal(one[key], other[key])] == []


@pytest.mark.gpu
@on_gpu
def test_sessions_one_after_another_do_not_grow():
    def used() -> int:
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    before = []
    for _ in range(6):
        program = program_of("triton", pointwise(), shape=(96, 96, 3), precision="bf16")
        program.step(20)
        assert np.isfinite(program.loss())
        program.close()
        del program
        before.append(used())
    assert before[-1] <= before[1] + 2**20
