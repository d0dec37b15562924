"""The tasks that look into networks, as descriptions: their sizes and their complaints."""

import numpy as np
import pytest

from dipedge.errors import InputError
from dipedge.resizing import resized
from dipedge.tasks.features import InvertFeatures, MaximizeActivation, _centre_of_shape, module_name

torch = pytest.importorskip("torch")


def small_network():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten())


def test_the_published_sizes_come_out_for_224_and_227():
    for size in (224, 227):
        task = InvertFeatures(small_network(), "0", size=size)
        assert task.target_shape((500, 375, 3)) == (size, size, 3)
        assert task.estimate_shape((size, size, 3)) == (256, 256, 3)


def test_without_a_size_the_picture_is_taken_as_it_is():
    task = InvertFeatures(small_network(), "0", size=None, multiple=1)
    pixels = np.random.default_rng(0).random((33, 47, 3)).astype(np.float32)
    assert task.target(pixels) is pixels
    assert task.estimate_shape(task.target_shape(pixels.shape)) == (33, 47, 3)


def test_the_answer_is_the_part_of_the_estimate_that_the_module_saw():
    task = InvertFeatures(small_network(), "0", size=(40, 50))
    estimate = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    answer = task.answer(estimate, np.zeros((90, 90, 3), np.float32))
    assert np.array_equal(answer.image, estimate[:40, :50])


def test_the_target_is_the_centre_without_squeezing():
    pixels = np.zeros((100, 300, 3), np.float32)
    pixels[:, 100:200] = 1  # the centre square
    assert np.allclose(InvertFeatures(small_network(), "0", size=32).target(pixels), 1)


def test_pictures_are_resized_as_trained_networks_were_shown_theirs():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(1).random((61, 83, 2)).astype(np.float32)
    planes = torch.from_numpy(values).double().permute(2, 0, 1)[None]
    for size in ((20, 30), (61, 83), (90, 200), (17, 120)):
        wanted = torch.nn.functional.interpolate(planes, size, mode="bilinear", antialias=True)
        found = resized(values, *size, "bilinear")
        assert np.abs(found - wanted[0].permute(1, 2, 0).numpy()).max() < 1e-6


def test_a_picture_of_the_wanted_size_stays_as_it_is():
    values = np.zeros((4, 5, 1), np.float32)
    assert resized(values, 4, 5, "lanczos") is values


def test_the_window_around_the_centre_has_the_wanted_shape():
    pixels = np.arange(12 * 20, dtype=np.float32).reshape(12, 20, 1)
    assert _centre_of_shape(pixels, 5, 5).shape == (12, 12, 1)
    assert np.array_equal(_centre_of_shape(pixels, 6, 10), pixels)
    assert _centre_of_shape(pixels, 5, 5)[0, 0, 0] == 4


def test_maximisation_begins_from_a_black_picture_of_its_size():
    task = MaximizeActivation(small_network(), "0", 1, size=(48, 80))
    assert not task.needs_picture
    assert task.blank().shape == (48, 80, 3) and task.blank().max() == 0


def test_other_names_of_layers_are_understood_when_the_model_gives_them():
    model = small_network()
    model.layer_names = {"edges": "0"}
    assert module_name(model, "edges") == "0"
    assert module_name(model, "2") == "2"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "alexnet"}, "model is a str; it must be a torch.nn.Module"),
        ({"layer": "features"}, r"layer is 'features', .* near it are 0, 1, 2"),
        ({"layer": 3}, "layer is 3"),
        ({"size": 15}, "size is 15; its sides must be 16 to 4096"),
        ({"size": (224, True)}, "size is"),
        ({"size": (64, 64, 3)}, "a side, or"),
        ({"size": "big"}, "a side, or"),
        ({"mean": (0.5, 0.5)}, "mean has 2 values, std 3"),
        ({"mean": (0.5,) * 4, "std": (1.0,) * 4}, "one for each channel the model takes, 1 or 3"),
        ({"std": (1.0, 0.0, 1.0)}, "every std must be above 0"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "mean is"),
        ({"multiple": 0}, "multiple is 0"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(arguments, sentence):
    given = {"model": small_network(), "layer": "0"} | arguments
    for task in (InvertFeatures, lambda **given: MaximizeActivation(**given, unit=0)):
        with pytest.raises(InputError, match=sentence) as caught:
            task(**given)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"unit": -1}, "unit is -1; it must be a whole number, 0 or more"),
        ({"unit": "cat"}, "unit is 'cat'"),
        ({"window": 0}, "window is 0"),
        ({"goal": float("inf")}, "goal is inf"),
        ({"size": None}, "size is None"),
    ],
)
def test_wrong_arguments_of_maximisation_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        MaximizeActivation(**({"model": small_network(), "layer": "0", "unit": 0} | arguments))


def test_near_names_come_first():
    model = torch.nn.Sequential()
    for name in ("stem", "block1", "block2", "head"):
        model.add_module(name, torch.nn.ReLU())
    with pytest.raises(InputError, match="near it are block"):
        module_name(model, "blok1")
