"""The references of residual_loss, adam and perturb: formulas, PyTorch's Adam, Philox's known answers."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dipedge.kernels import adam as adam_contract  # noqa: E402
from dipedge.kernels import perturb as perturb_contract  # noqa: E402
from dipedge.kernels import residual_loss as loss_contract  # noqa: E402
from dipedge.kernels.adam import reference as adam  # noqa: E402
from dipedge.kernels.lanczos_conv.reference import decimate  # noqa: E402
from dipedge.kernels.perturb import reference as perturb  # noqa: E402
from dipedge.kernels.residual_loss import reference as loss  # noqa: E402


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).standard_normal(shape), dtype=torch.float64)


# residual_loss ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", loss_contract.CASES, ids=str)
def test_head_and_data_term_follow_their_formulas(case):
    a, weight, bias = (
        draw(1, case.into, case.height, case.width),
        draw(case.out, case.into, 1, 1),
        draw(case.out),
    )
    x = loss.head(a, weight, bias, case.sigmoid)
    logits = np.einsum("oi,ihw->ohw", weight[:, :, 0, 0].numpy(), a[0].numpy()) + bias.numpy()[:, None, None]
    wanted = 1 / (1 + np.exp(-logits)) if case.sigmoid else logits
    np.testing.assert_allclose(x[0].numpy(), wanted, rtol=1e-11, atol=1e-13)
    target = draw(1, case.out, -(-case.height // case.scale), -(-case.width // case.scale), seed=3)
    mask = (draw(case.height, case.width, seed=4) > 0).double()
    residual = (decimate(x, case.scale, 2) if case.kind == "lanczos" else x) - target
    if case.kind == "mask":
        residual = residual * mask
    found = loss.data_term(x, target, case.kind, mask, case.scale)
    assert found.item() == pytest.approx((residual**2).mean().item(), rel=1e-12)


@pytest.mark.parametrize(("kind", "scale"), [("identity", 1), ("mask", 1), ("lanczos", 2)])
def test_gradients_of_head_and_data_term_match_finite_differences(kind, scale):
    target, mask = draw(1, 2, 4 // scale, 6 // scale, seed=5), (draw(4, 6, seed=6) > 0).double()
    arguments = [a.requires_grad_() for a in (draw(1, 3, 4, 6), draw(2, 3, 1, 1, seed=1), draw(2, seed=2))]
    assert torch.autograd.gradcheck(
        lambda a, w, b: loss.data_term(loss.head(a, w, b), target, kind, mask, scale), arguments
    )


def test_unknown_pixels_get_no_gradient_however_wrong_they_are():
    x = draw(1, 3, 4, 5).requires_grad_()
    mask = torch.ones(4, 5).double()
    mask[1, 2] = 0
    loss.data_term(x, 1e6 * torch.ones_like(x), "mask", mask).backward()
    assert torch.equal(x.grad[0, :, 1, 2], torch.zeros(3).double())
    assert (x.grad[0, :, 0, 0] != 0).all()


def test_the_running_average_starts_with_the_first_output():
    outputs = [draw(1, 3, 2, 2, seed=seed) for seed in range(3)]
    average = None
    for output in outputs:
        average = loss.running_average(average, output, 0.9)
    wanted = 0.81 * outputs[0] + 0.09 * outputs[1] + 0.1 * outputs[2]
    np.testing.assert_allclose(average.numpy(), wanted.numpy(), rtol=1e-13)


# adam -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", sorted({case.count for case in adam_contract.CASES}))
def test_twenty_steps_of_adam_are_those_of_torch(count):
    settings = {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.99, "eps": 1e-3}
    parameter = draw(count).requires_grad_()
    optimiser = torch.optim.Adam([parameter], lr=0.02, betas=(0.8, 0.99), eps=1e-3)
    found, first, second = (
        parameter.detach().clone(),
        torch.zeros(count).double(),
        torch.zeros(count).double(),
    )
    for step in range(1, 21):
        gradient = draw(count, seed=step)
        found, first, second = adam.adam_step(found, gradient, first, second, step, **settings)
        parameter.grad = gradient
        optimiser.step()
        np.testing.assert_allclose(found.numpy(), parameter.detach().numpy(), rtol=1e-12, atol=1e-14)


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate():
    gradient = torch.tensor([1e-3, -5.0, 0.0, 1e-8], dtype=torch.float64)
    zeros = torch.zeros(4).double()
    moved, _, _ = adam.adam_step(zeros, gradient, zeros, zeros, 1)
    np.testing.assert_allclose(moved.numpy(), [-0.01 / 1.00001, 0.01, 0, -0.005], rtol=1e-6)


# perturb ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_published_known_answers(counter, key, answer):
    """Random123, tests/kat_vectors, philox4x32 with 10 rounds."""
    words = np.array([[int(word, 16)] for word in counter.split()], np.uint64)
    found = perturb.philox(words, tuple(int(word, 16) for word in key.split()))
    assert [f"{word:08x}" for word in found[:, 0]] == answer.split()


@pytest.mark.parametrize("case", perturb_contract.CASES, ids=str)
def test_values_follow_box_and_muller_block_by_block(case):
    found = perturb.normal(case.seed, case.step, case.count)
    assert found.shape == (case.count,)
    for element in {0, case.count // 2, case.count - 1}:
        block, place = divmod(element, 4)
        words = [block & 0xFFFFFFFF, block >> 32, case.step & 0xFFFFFFFF, case.step >> 32]
        key = (case.seed & 0xFFFFFFFF, case.seed >> 32)
        r = perturb.philox(np.array(words, np.uint64)[:, None], key)[:, 0].astype(float)
        u = (r + 0.5) / 2**32
        pair = 0 if place < 2 else 2
        wave = (np.cos, np.sin)[place % 2]
        assert found[element] == np.sqrt(-2 * np.log(u[pair])) * wave(2 * np.pi * u[pair + 1])


def test_values_are_standard_normal():
    values = perturb.normal(seed=3, step=11, count=200_000)
    # Standard errors of mean, variance and fourth moment of 200,000 normal values.
    assert abs(values.mean()) < 5 / np.sqrt(200_000)
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / 200_000)
    assert abs((values**4).mean() - 3) < 5 * np.sqrt(96 / 200_000)
    neighbours = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(200_000)


def test_steps_and_seeds_give_unrelated_values():
    base = perturb.normal(0, 0, 4000)
    for seed, step in ((0, 1), (1, 0), (2**32, 0), (0, 2**32)):
        assert abs(np.corrcoef(base, perturb.normal(seed, step, 4000))[0, 1]) < 5 / np.sqrt(4000)


def test_perturbed_values_are_numbered_along_the_flat_picture():
    z = np.zeros((3, 5, 2))
    found = perturb.perturb(z, 0.03, seed=9, step=2)
    np.testing.assert_array_equal(found.ravel(), 0.03 * perturb.normal(9, 2, 30))
