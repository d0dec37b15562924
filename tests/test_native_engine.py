"""The native engine over the whole family of networks, encodings and data terms, against torch in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dipedge.errors import EngineError
from tests.configurations import (
    CONFIGURATIONS,
    ROUNDING,
    assert_bfloat16_evaluation,
    assert_evaluation,
    prepared,
    reference,
    relative,
    without_effect,
)
from tests.native_kernels import BF16_ISAS, ISAS, with_bf16


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_output_loss_and_gradients_are_those_of_torch_in_float64(name, isa, monkeypatch):
    seed, wanted = reference(name)
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    program = prepared("native", "fp32", name, seed)
    found = program.evaluate()
    program.close()
    assert_evaluation(found, wanted)


@pytest.mark.parametrize("key", ["level0.skip.conv.weight", "level1.up.bn.weight", "head.conv.bias", "input"])
def test_a_gradient_off_by_a_thousandth_would_be_found(key):
    name = "stride, bilinear, reflection"
    seed, wanted = reference(name)
    program = prepared("native", "fp32", name, seed)
    found = program.evaluate().gradients[key]
    program.close()
    assert relative(found, wanted.gradients[key]) < 1e-4 < relative(1.001 * found, wanted.gradients[key])


@pytest.mark.parametrize("name", ["kernel 3 everywhere, 5 levels", "learned frequencies"])
def test_two_evaluations_are_equal_to_the_bit_and_change_nothing(name):
    program = prepared("native", "fp32", name, 0)
    before, first, second, after = program.state(), program.evaluate(), program.evaluate(), program.state()
    program.close()
    assert np.array_equal(first.output, second.output) and first.loss == second.loss
    for found, again in ((first.gradients, second.gradients), (before, after)):
        assert [key for key in found if not np.array_equal(found[key], again[key])] == []


@pytest.mark.parametrize("name", ["learned frequencies", "learned frequencies without skips"])
def test_features_made_in_memory_give_what_their_tables_give(name):
    answers = []
    for make_z in (False, True):
        program = prepared("native", "fp32", name, 0, make_z)
        answers.append(program.evaluate())
        program.close()
    tables, made = answers
    assert made.gradients.pop("input").shape == (*CONFIGURATIONS[name][2][:2], 32)
    assert relative(tables.output, made.output) < 1e-6
    whole = np.sqrt(sum(np.linalg.norm(values) ** 2 for values in made.gradients.values()))
    for key, values in made.gradients.items():
        allowed = 1e-4 * np.linalg.norm(values) + ROUNDING * whole
        assert without_effect(key) or np.linalg.norm(tables.gradients[key] - values) < allowed, key


@with_bf16
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_bfloat16_gives_the_output_of_float64_and_the_direction_of_its_gradients(name, isa, monkeypatch):
    """With slope 1: values rounded to 8 bits change sides at LeakyReLU's corner in every layer, and the
    gradient of a net of a few hundred pixels with them (by 10 to 50 %), whatever computes it."""
    prior, task, shape = CONFIGURATIONS[name]
    straight = replace(prior, network=replace(prior.network, slope=1.0))
    monkeypatch.setitem(CONFIGURATIONS, name, (straight, task, shape))
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    answers = []
    for engine, precision in (("native", "bf16"), ("torch", "fp64")):
        program = prepared(engine, precision, name, seed=0)
        answers.append(program.evaluate())
        program.close()
    assert_bfloat16_evaluation(*answers, maxima=prior.network.downsample == "max")


@pytest.mark.parametrize("isa", ISAS)
def test_a_precision_that_cannot_be_had_is_an_error_that_says_why(isa, monkeypatch):
    monkeypatch.setenv("DIPEDGE_ISA", isa)
    with pytest.raises(EngineError, match="no precision 'fp8'; it takes auto, fp32, bf16"):
        prepared("native", "fp8", next(iter(CONFIGURATIONS)), 0)
    if isa not in BF16_ISAS:
        with pytest.raises(EngineError, match=f"instruction set '{isa}' does not"):
            prepared("native", "bf16", next(iter(CONFIGURATIONS)), 0)
