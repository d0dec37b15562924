"""The losses on networks' features: their values, their gradients, and the module left as it was."""

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.objectives import objective_for
from dipedge.tasks.features import IMAGENET_MEAN, IMAGENET_STD, InvertFeatures, MaximizeActivation

torch = pytest.importorskip("torch")

nn = torch.nn


class Branched(nn.Module):
    """A module that is no Sequential: branches, batch norm, dropout, and outputs of several kinds."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 3, padding=1)
        self.pair = Pair()
        self.unused = nn.ReLU()
        self.tokens = nn.Flatten(2)
        self.classes = nn.Linear(4 * 8 * 8, 10)  # fits 16 x 16 pictures alone

    def forward(self, x):
        x = self.drop(torch.relu(self.norm(self.stem(x))))
        x = self.left(x) + self.right(x)
        x, _ = self.pair(x)
        self.tokens(x)
        return self.classes(torch.max_pool2d(x, 2).flatten(1))


class Pair(nn.Module):
    def forward(self, x):
        return x, x.argmax(1)


def picture(height=16, width=16, channels=3, seed=0):
    return np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)


def inversion(model, layer, target, **options):
    objective = objective_for(InvertFeatures(model, layer, size=None, multiple=1, **options), seed=0)
    objective.set_target(target)
    return objective


def normalised(pixels):
    mean, std = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)
    return torch.tensor(np.moveaxis((pixels - mean) / std, 2, 0))[None]


def numerical(objective, estimate, at, step=1e-3):
    """The loss's slope at one value, by central differences in float64 networks."""
    shifted = [estimate.copy(), estimate.copy()]
    shifted[0][at] -= step
    shifted[1][at] += step
    low, high = (objective(values, 0)[0] for values in shifted)
    return (high - low) / (float(shifted[1][at]) - float(shifted[0][at]))


def test_the_loss_is_the_mean_squared_distance_of_features():
    model, target, estimate = Branched().eval(), picture(), picture(seed=1)
    with torch.no_grad():
        phi = [model.right(torch.relu(model.norm(model.stem(normalised(x))))) for x in (estimate, target)]
    loss, _ = inversion(model, "right", target)(estimate, 0)
    assert loss == pytest.approx(float(((phi[0] - phi[1]) ** 2).mean()), rel=1e-5)


def test_the_same_picture_has_no_distance_and_no_gradient():
    target = picture()
    loss, gradient = inversion(Branched(), "norm", target)(target, 0)
    assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("channels", [1, 3])
def test_the_gradient_is_the_losss_slope(channels):
    model = Branched().double()
    objective = inversion(model, "right", picture(channels=channels))
    objective.to(torch.device("cpu"), torch.float64)
    estimate = picture(channels=channels, seed=1).astype(np.float64)
    _, gradient = objective(estimate, 0)
    assert gradient.shape == estimate.shape
    for at in ((0, 0, 0), (7, 9, channels - 1), (15, 15, 0)):
        assert gradient[at] == pytest.approx(numerical(objective, estimate, at), rel=1e-4, abs=1e-9)


def test_what_lies_beyond_the_crop_gets_no_gradient():
    task = InvertFeatures(Branched(), "stem", size=None, multiple=8)
    objective = objective_for(task, seed=0)
    objective.set_target(picture(17, 20))
    assert task.estimate_shape((17, 20, 3)) == (24, 24, 3)
    _, gradient = objective(picture(24, 24, seed=1), 0)
    assert gradient[:17, :20].all(axis=2).all()
    assert not gradient[17:].any() and not gradient[:, 20:].any()


def test_the_pass_is_cut_short_behind_the_layer():
    model = Branched()  # its last layer fits 16 x 16 pictures alone
    reached = []
    model.classes.register_forward_hook(lambda *_: reached.append(True))
    loss, _ = inversion(model, "right", picture(40, 56))(picture(40, 56, seed=1), 0)
    assert loss > 0 and reached == []


def test_an_activation_in_place_behind_the_layer_changes_nothing():
    def network(*behind):
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3), *behind)

    target, estimate = picture(), picture(seed=1)
    plain, followed = network(), network(nn.ReLU(inplace=True))
    a, b = (inversion(model, "0", target)(estimate, 0) for model in (plain, followed))
    assert a[0] == b[0] and np.array_equal(a[1], b[1])


def test_the_users_module_is_left_as_it_was():
    model = Branched().train()
    model.left.eval()
    model.stem.weight.requires_grad_(False)
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: values.clone() for name, values in model.state_dict().items()}
    objective = inversion(model, "right", picture())
    objective(picture(seed=1), 0)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(before[name], values) for name, values in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    assert not flags.pop("stem.weight") and all(flags.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_module_is_left_as_it_was_after_an_error():
    model = Branched().train()
    with pytest.raises(InputError):
        inversion(model, "classes", picture(40, 40))
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_dropout_and_batch_norm_work_as_in_evaluation():
    target, estimate = picture(), picture(seed=1)
    losses = {inversion(Branched().train(mode), "right", target)(estimate, 0)[0] for mode in (True, False)}
    assert len(losses) == 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_of_another_precision_is_shown_its_own(dtype):
    target, estimate = picture(), picture(seed=1)
    exact, _ = inversion(Branched(), "right", target)(estimate, 0)
    loss, gradient = inversion(Branched().to(dtype), "right", target)(estimate, 0)
    assert gradient.dtype == np.float32 and np.isfinite(gradient).all()
    assert loss == pytest.approx(exact, rel=1e-5 if dtype == torch.float64 else 0.1)


def test_a_module_without_weights_is_shown_the_estimates_precision():
    model = nn.Sequential(nn.AvgPool2d(2))
    loss, _ = inversion(model, "0", picture(), mean=(0.0,) * 3, std=(1.0,) * 3)(picture(seed=1), 0)
    pooled = [x.reshape(8, 2, 8, 2, 3).mean(axis=(1, 3)) for x in (picture(), picture(seed=1))]
    assert loss == pytest.approx(float(((pooled[0] - pooled[1]) ** 2).mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("layer", "size", "sentence"),
    [
        ("classes", 40, "a picture of 40 x 40 does not come through the model to layer 'classes'"),
        ("pair", 16, "layer 'pair' gives a tuple"),
        ("unused", 16, "layer 'unused' is never run"),
    ],
)
def test_a_layer_that_cannot_be_compared_is_refused_before_the_fit(layer, size, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        inversion(Branched(), layer, picture(size, size))
    assert "\n" not in str(caught.value)


def test_a_colour_picture_for_a_gray_model_is_refused():
    with pytest.raises(InputError, match="the picture has 3 channels"):
        inversion(nn.Sequential(nn.Conv2d(1, 2, 3)), "0", picture(), mean=(0.5,), std=(0.5,))


def test_features_that_are_not_finite_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 2, 3))
    torch.nn.init.constant_(model[0].bias, torch.nan)
    with pytest.raises(InputError, match="NaN or infinite"):
        inversion(model, "0", picture())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_scripted_module_is_refused():
    model = torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval())
    with pytest.raises(InputError, match="layer '0' cannot be looked into"):
        inversion(model, "0", picture())


def test_missing_memory_is_no_fault_of_the_size():
    class Hungry(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.ReLU()

        def forward(self, x):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes.")

    with pytest.raises(RuntimeError, match="allocate"):
        inversion(Hungry(), "body", picture())


def maximisation(model, layer, unit, **options):
    task = MaximizeActivation(model, layer, unit, size=16, multiple=1, **options)
    objective = objective_for(task, seed=0)
    objective.set_target(task.blank())
    return objective


def test_a_maps_unit_is_its_centre_pixel_and_a_vectors_unit_its_entry():
    model, estimate = Branched().eval(), picture()
    with torch.no_grad():
        stem = model.stem(normalised(estimate))
        classes = model(normalised(estimate))
    assert maximisation(model, "stem", 2)(estimate, 0)[0] == pytest.approx(-float(stem[0, 2, 8, 8]), rel=1e-5)
    assert maximisation(model, "classes", 7)(estimate, 0)[0] == pytest.approx(-float(classes[0, 7]), rel=1e-5)


@pytest.mark.parametrize(("window", "rows"), [(1, (8, 9)), (2, (7, 9)), (5, (6, 11)), (40, (0, 16))])
def test_a_window_takes_the_mean_around_the_centre(window, rows):
    model, estimate = Branched().eval(), picture()
    part = slice(*rows)
    with torch.no_grad():
        expected = -float(model.stem(normalised(estimate))[0, 1, part, part].mean())
    assert maximisation(model, "stem", 1, window=window)(estimate, 0)[0] == pytest.approx(expected, rel=1e-4)


def test_a_goal_is_approached_from_both_sides():
    model, estimate = Branched(), picture()
    activation = -maximisation(model, "stem", 2)(estimate, 0)[0]
    below, up = maximisation(model, "stem", 2, goal=activation + 3)(estimate, 0)
    above, down = maximisation(model, "stem", 2, goal=activation - 3)(estimate, 0)
    assert below == pytest.approx(3, rel=1e-4) and above == pytest.approx(3, rel=1e-4)
    assert np.array_equal(up, -down) and up.any()


def test_a_step_along_the_gradient_excites_the_unit_more():
    objective, estimate = maximisation(Branched(), "classes", 3), picture()
    loss, gradient = objective(estimate, 0)
    assert objective(estimate - 0.01 * gradient / np.abs(gradient).max(), 1)[0] < loss


@pytest.mark.parametrize(
    ("layer", "unit", "sentence"),
    [
        ("stem", 6, "unit is 6; layer 'stem' has 0 to 5"),
        ("classes", 10, "unit is 10; layer 'classes' has 0 to 9"),
        ("tokens", 0, r"gives an array of shape \(1, 4, 256\); a unit is one of"),
    ],
)
def test_a_unit_that_is_not_there_is_refused_before_the_fit(layer, unit, sentence):
    with pytest.raises(InputError, match=sentence):
        maximisation(Branched(), layer, unit)


def test_a_graph_through_the_objective_reaches_the_estimate_alone():
    from dipedge.objectives.layer_output import LayerOutput

    model = Branched()
    phi = LayerOutput(model, "right", IMAGENET_MEAN, IMAGENET_STD)
    shown = torch.rand(1, 3, 16, 16, requires_grad=True)
    phi(shown).sum().backward()
    assert shown.grad is not None and all(parameter.grad is None for parameter in model.parameters())
