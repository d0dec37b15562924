"""The loss of dehazing: its value and every gradient against PyTorch's autograd in float64."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dipedge.objectives import objective_for  # noqa: E402
from dipedge.objectives.haze import ANCHOR_STEPS, smoothness  # noqa: E402
from dipedge.tasks import Dehaze  # noqa: E402


def reference_smoothness(x):
    """x [1, C, H, W], as the published code has it: two valid convolutions of the channels' mean."""
    gray = x.mean(dim=1, keepdim=True)
    box, centre = torch.full((1, 1, 5, 5), 1 / 25, dtype=x.dtype), torch.zeros(1, 1, 5, 5, dtype=x.dtype)
    centre[0, 0, 2, 2] = 1
    convolved = torch.nn.functional.conv2d
    return torch.nn.functional.mse_loss(convolved(gray, centre), convolved(gray, box))


def reference_loss(estimate, target, airlight, step, learned):
    """estimate [H, W, 2C + 1], written from the formula."""
    channels = target.shape[2]
    planes = estimate.permute(2, 0, 1)[None]
    clear, share, light = planes[:, :channels], planes[:, channels : channels + 1], planes[:, channels + 1 :]
    wanted = torch.tensor(target).permute(2, 0, 1)[None]
    mse = torch.nn.functional.mse_loss
    loss = mse(share * clear + (1 - share) * light, wanted) + 0.005 * reference_smoothness(share)
    if learned:
        loss = loss + 0.1 * reference_smoothness(light)
        if step < 1000:
            anchor = torch.tensor(airlight).reshape(1, channels, 1, 1) * torch.ones_like(light)
            loss = loss + mse(light, anchor)
    return loss


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("step", [0, ANCHOR_STEPS - 1, ANCHOR_STEPS])
@pytest.mark.parametrize("learned", [True, False])
def test_loss_and_gradient_are_those_of_autograd(channels, step, learned):
    stream = np.random.default_rng(channels)
    target, estimate = stream.random((19, 23, channels)), stream.random((19, 23, 2 * channels + 1))
    objective = objective_for(Dehaze(airlight=(0.7,)), seed=0)
    objective.set_target(target)
    objective.learned = learned
    loss, gradient = objective(estimate, step)
    variable = torch.tensor(estimate, requires_grad=True)
    expected = reference_loss(variable, target, objective.airlight, step, learned)
    (by_hand,) = torch.autograd.grad(expected, variable)
    by_hand = by_hand.numpy().copy()
    if not learned:
        by_hand[..., channels + 1 :] = 0
    assert loss == pytest.approx(float(expected.detach()), rel=1e-12)
    np.testing.assert_allclose(gradient, by_hand, rtol=1e-10, atol=1e-16)
    assert gradient.any(axis=(0, 1)).tolist() == [True] * (channels + 1) + [learned] * channels


def test_float32_keeps_to_the_gradient_of_float64():
    stream = np.random.default_rng(0)
    target, estimate = stream.random((40, 33, 3)), stream.random((40, 33, 7))
    results = []
    for dtype in (np.float64, np.float32):
        objective = objective_for(Dehaze(), seed=0)
        objective.set_target(target.astype(dtype))
        results.append(objective(estimate.astype(dtype), 0))
    assert results[1][1].dtype == np.float32
    assert results[1][0] == pytest.approx(results[0][0], rel=1e-6)
    away = np.linalg.norm(results[1][1] - results[0][1]) / np.linalg.norm(results[0][1])
    assert away < 1e-6


def test_a_plane_is_smooth_and_a_picture_too_small_for_a_square_costs_nothing():
    row, column = np.mgrid[:20, :30] / 30
    plane = (0.2 + 0.3 * row + 0.1 * column)[..., None]
    assert smoothness(plane)[0] < 1e-30
    loss, gradient = smoothness(np.random.default_rng(0).random((4, 9, 3)))
    assert loss == 0 and not gradient.any()


def test_the_airlight_comes_from_the_task_or_else_from_the_picture():
    target = np.full((30, 30, 3), 0.25)
    target[:20, :20] = (0.6, 0.7, 0.8)
    for task, expected in ((Dehaze(), (0.6, 0.7, 0.8)), (Dehaze(airlight=(1, 0.5, 0)), (1, 0.5, 0))):
        objective = objective_for(task, seed=0)
        objective.set_target(target)
        np.testing.assert_allclose(objective.airlight, expected)
