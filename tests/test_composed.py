"""Several fits as one program: the stack, the halves of its steps, its state, and the passes of dehazing."""

import numpy as np
import pytest

from dipedge import haze
from dipedge.engines import get_engine
from dipedge.engines.base import Settings
from dipedge.engines.composed import PART, ComposedProgram, compiled_parts
from dipedge.engines.dehazing import DehazeProgram
from dipedge.errors import EngineError, InputError
from dipedge.priors import Fourier, HazePriors, Hourglass, Level, Meshgrid, Noise, Prior
from dipedge.tasks import Dehaze
from tests.conftest import smooth_picture

NET = Hourglass((Level(8, 8, 0), Level(8, 8, 2)))
POINTS = Hourglass((Level(8, 8, 0, 1, 1), Level(8, 8, 2, 1, 1)))
JITTERED, STILL = Prior(Noise(4, centred=True), NET, 0.03), Prior(Noise(4, centred=True), NET)
PRIORS = HazePriors(JITTERED, STILL, Prior(Meshgrid(2), NET, 0.03), learned=(False, True), pass_steps=4)
SETTINGS = Settings(threads=1, precision="fp32", average=0.9)
SHAPE = (20, 24)


class Difference:
    """MSE of the stack against a target of as many channels: an objective that is easily said again."""

    def set_target(self, target):
        self.target = target

    def __call__(self, estimate, step):
        away = estimate - self.target
        return float(np.mean(away**2)), (2 / away.size) * away


def parts(engine, settings=SETTINGS):
    return compiled_parts(get_engine(engine), {"one": (JITTERED, 3), "two": (STILL, 1)}, SHAPE, settings)


def composed(engine, steps=0):
    program = ComposedProgram(parts(engine), Difference())
    program.set_target(smooth_picture(*SHAPE, 4))
    program.step(steps)
    return program


def hazy_picture(channels=3):
    light = np.float32(0.8)
    transmission = (0.3 + 0.6 * smooth_picture(*SHAPE, 1)[..., 0]).astype(np.float32)
    return haze.hazy(smooth_picture(*SHAPE, channels), transmission, light).astype(np.float32)


def dehazing(engine, steps=0, priors=PRIORS, task=None, channels=3):
    task = task or Dehaze()
    shape = (*SHAPE, 2 * channels + 1)
    program = get_engine(engine).compile(priors, task, shape, SETTINGS)
    program.set_target(hazy_picture(channels))
    program.step(steps)
    return program


def assert_same_states(one, other):
    assert one.keys() == other.keys()
    for key, values in one.items():
        np.testing.assert_array_equal(values, other[key], err_msg=key)


def test_a_step_hands_each_part_its_share_of_the_gradient(engine):
    whole, alone, objective = composed(engine), parts(engine), Difference()
    objective.set_target(smooth_picture(*SHAPE, 4))
    for step in range(3):
        stack = np.concatenate([part.forward() for part in alone.values()], axis=2)
        loss, gradient = objective(stack, step)
        for part, share in zip(alone.values(), np.split(gradient, [3], axis=2), strict=True):
            part.backward(np.ascontiguousarray(share), loss)
        whole.step()
        assert whole.loss() == loss
    for name, part in alone.items():
        for key, values in part.state("param/").items():
            found = whole.state(f"param/{name}.")[f"param/{name}.{key[6:]}"]
            np.testing.assert_array_equal(found, values)
    for averaged in (True, False):
        expected = np.concatenate([part.estimate(averaged) for part in alone.values()], axis=2)
        np.testing.assert_array_equal(whole.estimate(averaged), expected)
    pixels = np.array([0, 5, 479])
    np.testing.assert_array_equal(whole.sample(pixels), whole.estimate(False).reshape(-1, 4)[pixels])


def test_no_two_parts_begin_alike(engine):
    made = compiled_parts(get_engine(engine), {"one": (STILL, 1), "two": (STILL, 1)}, SHAPE, SETTINGS)
    one, two = (part.state() for part in made.values())
    assert not np.array_equal(one["input"], two["input"])
    assert not np.array_equal(one["param/head.conv.weight"], two["param/head.conv.weight"])


def test_a_loaded_state_goes_on_bit_for_bit(engine):
    program, other = composed(engine, 3), composed(engine)
    other.load_state(program.state())
    assert_same_states(other.state(), program.state())
    program.step(3)
    other.step(3)
    assert_same_states(other.state(), program.state())


def test_weights_alone_can_be_taken_and_brought_back(engine):
    program = composed(engine, 2)
    weights = program.state("param/")
    assert all(key.startswith("param/") for key in weights) and len(weights) > 20
    program.step(2)
    program.load_state(weights)
    for key, values in program.state("param/").items():
        np.testing.assert_array_equal(values, weights[key])
    assert program.steps_done == 4


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"param/three.head.conv.bias": np.zeros(3)}, "does not have"),
        ({"input": np.zeros((20, 24, 4))}, "does not have"),
        ({"param/one": np.zeros(3)}, "does not have"),
        ({"average": np.zeros((20, 24, 3))}, "needs"),
        ({"param/one.head.conv.bias": np.zeros(4)}, "needs"),
    ],
)
def test_a_state_of_another_fit_is_refused(engine, state, words):
    with pytest.raises(InputError, match=words):
        composed(engine, 1).load_state(state)


def test_what_belongs_to_the_parts_is_refused(engine):
    program = composed(engine)
    with pytest.raises(EngineError, match="no step"):
        program.estimate()
    with pytest.raises(InputError, match="its own"):
        program.set_input(np.zeros((20, 24, 4)))
    with pytest.raises(InputError, match="mask"):
        program.set_target(smooth_picture(*SHAPE, 4), np.ones(SHAPE))
    with pytest.raises(InputError, match="target has shape"):
        program.set_target(smooth_picture(20, 23, 4))
    for refused in (program.forward, program.evaluate, lambda: program.backward(None, 0.0)):
        with pytest.raises(EngineError, match="several parts"):
            refused()
    with pytest.raises(InputError, match="no target"):
        ComposedProgram(parts(engine), Difference()).step()


def test_closing_closes_every_part(engine):
    program = composed(engine, 1)
    held = list(program.parts.values())
    program.close()
    program.close()
    for use in (program.step, program.estimate, *(part.forward for part in held)):
        with pytest.raises(EngineError, match="closed"):
            use()


def test_parts_of_different_sizes_are_refused(engine):
    one = get_engine(engine).compile(STILL, PART, (16, 16, 3), SETTINGS)
    other = get_engine(engine).compile(STILL, PART, (16, 20, 1), SETTINGS)
    with pytest.raises(InputError, match="of one size"):
        ComposedProgram({"one": one, "two": other}, Difference())


def test_no_part_stays_when_another_cannot_be_compiled():
    made = []

    class Breaking:
        def compile(self, prior, task, shape, settings):
            if len(made) == 2:
                raise EngineError("no more")
            made.append(get_engine("native").compile(prior, task, shape, settings))
            return made[-1]

    wanted = {name: (STILL, 1) for name in ("a", "b", "c")}
    with pytest.raises(EngineError, match="no more"):
        compiled_parts(Breaking(), wanted, SHAPE, SETTINGS)
    for program in made:
        with pytest.raises(EngineError, match="closed"):
            program.forward()


# Dehazing -------------------------------------------------------------------------------------------


def test_the_airlight_is_held_in_the_first_pass_and_learned_in_the_second(engine):
    program = dehazing(engine, 4)
    light = haze.airlight(hazy_picture())
    np.testing.assert_array_equal(program.estimate()[..., 4:], np.broadcast_to(light, (*SHAPE, 3)))
    assert isinstance(program, DehazeProgram) and program.state()["step/airlight"] == 0
    program.step()
    assert program.state()["step/airlight"] == program.state()["step/picture"] == 1
    assert np.ptp(program.estimate()[..., 4:], axis=(0, 1)).min() > 0


def test_without_a_prior_for_it_the_airlight_is_held_to_the_end(engine):
    program = dehazing(engine, 6, HazePriors(JITTERED, STILL, learned=(False,), pass_steps=2))
    assert {key.split("/")[1].split(".")[0] for key in program.state("param/")} == {"picture", "transmission"}
    assert np.ptp(program.estimate()[..., 4:], axis=(0, 1)).max() == 0


def test_the_second_pass_begins_again_on_the_clear_picture_of_the_first(engine):
    program, fresh = dehazing(engine, 4), dehazing(engine)
    estimate = program.estimate()
    shown = []
    set_target = program._haze.set_target
    program._haze.set_target = lambda target: (shown.append(target), set_target(target))
    program.step()
    transmission = haze.refined(estimate[..., 3], hazy_picture(), 24)
    expected = haze.cleared(hazy_picture(), transmission, estimate[..., 4:])
    np.testing.assert_array_equal(shown[0], expected)
    np.testing.assert_array_equal(program._haze.airlight, estimate[..., 4:])
    fresh._enter(1)  # the same networks from the start, on that picture
    fresh._haze.set_target = lambda target: None
    fresh._haze._target, fresh._haze.airlight = shown[0], estimate[..., 4:]
    fresh._haze.learned = True
    fresh.step()
    for key, values in fresh.state("param/").items():
        np.testing.assert_array_equal(program.state("param/")[key], values)


def test_two_passes_are_told_as_one_haze(engine):
    """What the second pass says of the first one's picture, said of the picture that came in."""
    program = dehazing(engine, 7)
    clear, share, light = np.split(program._stacked(lambda part: part.estimate()).astype(float), (3, 4), 2)
    first_share, first_light = (values.astype(float) for values in program._before)
    between = haze.hazy(clear, share[..., 0], light)
    whole = haze.hazy(between, first_share, first_light)
    estimate = program.estimate().astype(float)
    np.testing.assert_allclose(
        haze.hazy(estimate[..., :3], estimate[..., 3], estimate[..., 4:]), whole, rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(estimate[..., 3], first_share * share[..., 0], rtol=1e-6)


@pytest.mark.parametrize("before", [2, 4, 6])
def test_a_dehazing_goes_on_bit_for_bit_in_whatever_pass(engine, before):
    program, other = dehazing(engine, before), dehazing(engine)
    other.load_state(program.state())
    program.step(3)
    other.step(3)
    assert_same_states(other.state(), program.state())
    np.testing.assert_array_equal(other.estimate(), program.estimate())


def test_a_program_of_a_later_pass_can_be_set_back_to_the_first(engine):
    program = dehazing(engine)
    first = program.state()
    program.step(6)
    program.load_state(first)
    program.step(2)
    assert_same_states(program.state(), dehazing(engine, 2).state())


def test_a_state_of_the_second_pass_needs_what_the_first_found(engine):
    state = dehazing(engine, 6).state()
    del state["before/airlight"]
    with pytest.raises(InputError, match="without what"):
        dehazing(engine).load_state(state)


def test_the_next_frame_of_a_later_pass_loses_the_same_haze_first(engine):
    program = dehazing(engine, 6)
    frame = np.flip(hazy_picture(), axis=1).copy()
    program.set_target(frame)
    np.testing.assert_array_equal(program._haze._target, haze.cleared(frame, *program._before))


def test_engines_agree_on_a_dehazing():
    pytest.importorskip("torch")
    still = Prior(Fourier(4, 16.0), POINTS)
    priors = HazePriors(still, still, still, learned=(False, True), pass_steps=4)
    native, torch = (dehazing(name, 8, priors) for name in ("native", "torch"))
    assert native.loss() == pytest.approx(torch.loss(), rel=1e-3)
    np.testing.assert_allclose(native.estimate(), torch.estimate(), rtol=0, atol=2e-3)


def test_a_grey_picture_is_dehazed_too(engine):
    program = dehazing(engine, 6, channels=1)
    assert program.estimate().shape == (*SHAPE, 3)
    with pytest.raises(InputError, match="target has shape"):
        program.set_target(hazy_picture())


def test_memory_is_that_of_the_parts():
    program = dehazing("native")
    each = [part.memory_bytes for part in program._networks.values()]
    assert len(each) == 3 and program.memory_bytes == sum(each) > 0
