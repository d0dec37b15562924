"""The ready networks: names, structure and numbers, from every kind of file, and what is no such file."""

import json
import struct

import numpy as np
import pytest

from dipedge import models
from dipedge.errors import FileError, InputError
from dipedge.tasks.features import IMAGENET_MEAN, IMAGENET_STD
from tests.network_weights import AVERAGED, state_dict, turned

torch = pytest.importorskip("torch")

F = torch.nn.functional


def plain_alexnet(state, x):
    """AlexNet once more, written as its formula: the oracle of the module."""

    def conv(x, index, **options):
        return F.relu(
            F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], **options)
        )

    x = F.max_pool2d(conv(x, 0, stride=4, padding=2), 3, 2)
    x = F.max_pool2d(conv(x, 3, padding=2), 3, 2)
    x = conv(conv(conv(x, 6, padding=1), 8, padding=1), 10, padding=1)
    return classified(state, F.adaptive_avg_pool2d(F.max_pool2d(x, 3, 2), 6), (1, 4, 6))


def plain_vgg(state, x):
    """VGG as its formula: a pooling wherever torchvision's numbers skip one."""
    indices = sorted({int(name.split(".")[1]) for name in state if name.startswith("features.")})
    for index, after in zip(indices, [*indices[1:], None], strict=True):
        x = F.relu(F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1))
        if after is None or after - index == 3:
            x = F.max_pool2d(x, 2)
    return classified(state, F.adaptive_avg_pool2d(x, 7), (0, 3, 6))


def classified(state, x, indices):
    x = x.flatten(1)
    for index in indices:
        x = F.linear(x, state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"])
        x = x if index == indices[-1] else F.relu(x)
    return x


@pytest.mark.parametrize("name", models.MODELS)
def test_a_network_from_a_state_dict_computes_its_formula(name):
    state = state_dict(name)
    model = getattr(models, name)(state)
    x = torch.randn(1, 3, 96, 80, generator=torch.Generator().manual_seed(0))
    expected = (plain_alexnet if name == "alexnet" else plain_vgg)(state, x)
    assert expected.std() > 1e-3
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", models.MODELS)
def test_parameters_are_called_as_torchvision_calls_them(name):
    state = state_dict(name)
    assert sorted(getattr(models, name)(state).state_dict()) == sorted(state)


def test_a_network_is_in_evaluation_mode_and_leaves_the_given_weights_alone():
    state = state_dict()
    model = models.alexnet(state)
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        model.features[0].weight.zero_()
    assert state["features.0.weight"].abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "layer", "kind", "module"),
    [
        ("alexnet", "conv3", torch.nn.Conv2d, "features.6"),
        ("alexnet", "relu5", torch.nn.ReLU, "features.11"),
        ("alexnet", "pool2", torch.nn.MaxPool2d, "features.5"),
        ("alexnet", "fc6", torch.nn.Linear, "classifier.1"),
        ("alexnet", "fc8", torch.nn.Linear, "classifier.6"),
        ("vgg16", "conv3_3", torch.nn.Conv2d, "features.14"),
        ("vgg16", "conv5_3", torch.nn.Conv2d, "features.28"),
        ("vgg19", "conv3_4", torch.nn.Conv2d, "features.16"),
        ("vgg19", "pool5", torch.nn.MaxPool2d, "features.36"),
        ("vgg19", "relu6", torch.nn.ReLU, "classifier.1"),
        ("vgg19", "fc7", torch.nn.Linear, "classifier.3"),
    ],
)
def test_the_papers_names_mean_the_right_modules(name, layer, kind, module):
    model = getattr(models, name)(state_dict(name))
    assert model.layer_names[layer] == module
    assert isinstance(model.get_submodule(module), kind)


@pytest.mark.parametrize("name", models.MODELS)
def test_convolutions_alone_make_a_network_without_a_classifier(name):
    model = getattr(models, name)(state_dict(name, classifier=False))
    assert [child for child, _ in model.named_children()] == ["features"]
    assert "fc6" not in model.layer_names and "pool5" in model.layer_names


def written(path, state):
    """The state dict in a file of the kind the path's ending says."""
    if path.suffix == ".pth":
        torch.save(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        pytest.importorskip("safetensors.torch").save_file(state, str(path))
    return path


@pytest.mark.parametrize("ending", ["pth", "npz", "safetensors"])
def test_every_kind_of_file_gives_the_same_weights(tmp_path, ending):
    state = state_dict()
    model = models.alexnet(written(tmp_path / f"weights.{ending}", state))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])


def test_bfloat16_in_safetensors_keeps_its_values(tmp_path):
    state = {name: tensor.bfloat16() for name, tensor in state_dict().items()}
    model = models.alexnet(written(tmp_path / "weights.safetensors", state))
    assert torch.equal(model.features[3].weight, state["features.3.weight"].float())


def test_a_training_checkpoint_is_opened_at_its_state_dict(tmp_path):
    torch.save({"epoch": 3, "state_dict": state_dict()}, tmp_path / "checkpoint.pth")
    assert models.alexnet(tmp_path / "checkpoint.pth").features[0].weight.shape == (4, 3, 11, 11)


def test_flax_arrays_are_turned_and_other_arrays_beside_them_left_out(tmp_path):
    state = state_dict(classifier=False)
    arrays = {"NetLinLayer_0/Conv_0/kernel": np.zeros((1, 1, 4, 1), np.float32)}
    for number, index in enumerate((0, 3, 6, 8, 10)):
        arrays[f"AlexNet_0/Conv_{number}/kernel"] = turned(state[f"features.{index}.weight"])
        arrays[f"AlexNet_0/Conv_{number}/bias"] = state[f"features.{index}.bias"].numpy()
    np.savez_compressed(tmp_path / "flax.npz", **arrays)
    model = models.alexnet(tmp_path / "flax.npz")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert "caffe_input" not in dict(model.named_children())


def keras_bytes(state):
    """VGG-19's convolutions as bytes with a scale and a smallest value, by Keras's names; and as floats."""
    names = [
        f"block{block}_conv{i}" for block, count in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, count + 1)
    ]
    indices = sorted({int(name.split(".")[1]) for name in state})
    arrays, exact = {}, {}
    for name, index in zip(names, indices, strict=True):
        for part, ours in (("kernel", "weight"), ("bias", "bias")):
            tensor = state[f"features.{index}.{ours}"]
            values = turned(tensor) if part == "kernel" else tensor.numpy()
            low, scale = float(values.min()), float(np.ptp(values)) / 255
            arrays[f"{name}/{part}|q"] = quantised = np.rint((values - low) / scale).astype(np.uint8)
            arrays[f"{name}/{part}|scale_min"] = np.array([scale, low])
            restored = torch.tensor(quantised * scale + low, dtype=torch.float32)
            exact[f"features.{index}.{ours}"] = restored.permute(3, 2, 0, 1) if part == "kernel" else restored
    return arrays, exact


def test_byte_weights_under_keras_names_are_restored_and_shown_caffes_input(tmp_path):
    arrays, exact = keras_bytes(state_dict("vgg19", classifier=False))
    np.savez(tmp_path / "keras.npz", **arrays)
    model = models.vgg19(tmp_path / "keras.npz")
    assert sorted(model.state_dict()) == sorted(exact)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, exact[name], rtol=0, atol=1e-6)

    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    shown = model.caffe_input((red - mean) / std)[0, :, 0, 0]
    expected = torch.tensor([-103.939, -116.779, 255 - 123.68])  # blue, green, red
    torch.testing.assert_close(shown, expected, rtol=0, atol=1e-3)


def test_caffe_names_are_understood_and_the_input_can_be_chosen():
    state = state_dict("vgg16", classifier=False)
    names = {module: paper for paper, module in models.vgg16(state).layer_names.items()}
    caffe = {f"{names[key.rsplit('.', 1)[0]]}.{key.rsplit('.', 1)[1]}": value for key, value in state.items()}
    assert "conv1_1.weight" in caffe
    assert "caffe_input" in dict(models.vgg16(caffe).named_children())
    assert "caffe_input" not in dict(models.vgg16(caffe, caffe=False).named_children())
    assert "caffe_input" in dict(models.vgg16(state, caffe=True).named_children())


def test_half_precision_weights_make_a_half_precision_network():
    state = {name: tensor.to(torch.float16) for name, tensor in state_dict("vgg16").items()}
    model = models.vgg16(state, caffe=True)
    assert {tensor.dtype for tensor in [*model.parameters(), *model.buffers()]} == {torch.float16}


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda state: without(state, "features.6.bias"), r"has no features\.6\.bias, which alexnet needs"),
        (lambda state: without(state, "classifier.4.weight"), r"has no classifier\.4\.weight"),
        (
            lambda state: state | {"features.40.weight": torch.zeros(1)},
            r"features\.40\.weight, which alexnet does",
        ),
        (lambda state: state | {"features.3.weight": torch.zeros(4, 4, 3, 3)}, r"\[channels, 4, 5, 5\]"),
        (lambda state: state | {"features.0.bias": torch.zeros(3)}, r"bias \[3\]"),
        (
            lambda state: state | {"features.0.bias": torch.full((4,), torch.nan)},
            r"NaN or infinite .* features\.0\.bias",
        ),
        (lambda state: state | {"features.0.bias": torch.zeros(4, dtype=torch.int64)}, "floating-point"),
        (lambda state: {"layer1.0.weight": torch.zeros(1)}, "no weights under a known name"),
        (lambda state: {}, "no weights under a known name"),
        (
            lambda state: {"conv1_1.weight": torch.zeros(4, 3, 3, 3)},
            "a layer conv1_1, which this network does not",
        ),
        (lambda state: {"block1_conv1/kernel|q": np.zeros(3, np.uint8)}, "scale_min"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        models.alexnet(change(state_dict()))
    assert "\n" not in str(caught.value)


def entry(word, count, size=4):
    return {"dtype": word, "shape": [count], "data_offsets": [0, count * size]}


def safetensors_file(path, header):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(64))


@pytest.mark.parametrize(
    ("name", "make", "sentence"),
    [
        ("a.bin", lambda path: path.write_bytes(b""), "ends in .pth, .pt, .safetensors, .npz"),
        ("a.pth", lambda path: None, "no such file"),
        ("a.pth", lambda path: path.write_bytes(b"text"), "not a readable file of weights"),
        ("a.pth", lambda path: torch.save([1, 2], path), "holds a list, not a state dict"),
        ("a.npz", lambda path: path.write_bytes(b"text"), "not a readable file of weights"),
        ("a.npz", lambda path: np.savez(path, a=np.array([{}], object)), "not a readable file of weights"),
        ("a.safetensors", lambda path: path.write_bytes(b"\xff" * 40), "its header claims"),
        ("a.safetensors", lambda path: path.write_bytes(b"x"), "not a readable file of weights"),
        (
            "a.safetensors",
            lambda path: safetensors_file(path, {"x": entry("F32", 99)}),
            "x lies outside the file",
        ),
        (
            "a.safetensors",
            lambda path: safetensors_file(path, {"x": entry("F8", 1)}),
            "x is of type F8",
        ),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_weights_is_refused_in_one_sentence(tmp_path, name, make, sentence):
    make(tmp_path / name)
    with pytest.raises(FileError, match=sentence) as caught:
        models.vgg16(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return (print, ("this must not be printed",))

    torch.save({"features.0.weight": Runs()}, tmp_path / "bad.pth")
    with pytest.raises(FileError, match="not a readable file of weights"):
        models.alexnet(tmp_path / "bad.pth")


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="alexnet, vgg16, vgg19"):
        models.build("resnet50", {})


def test_the_real_alexnet_has_its_known_sizes(shared):
    path = shared / "data" / "weights" / "alexnet.npz"
    if not path.is_file():
        pytest.skip("no AlexNet weights in the shared data")
    model = models.alexnet(path)
    assert model.features[0].weight.shape == (64, 3, 11, 11)
    assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 256, 6, 6)
    assert AVERAGED["alexnet"] == 6


def test_the_real_vgg19_answers_to_edges_with_sparse_features(shared):
    path = shared / "data" / "weights" / "vgg19_conv_uint8.npz"
    if not path.is_file():
        pytest.skip("no VGG-19 weights in the shared data")
    model = models.vgg19(path)
    assert [child for child, _ in model.named_children()] == ["caffe_input", "features"]
    assert len([name for name in model.layer_names if name.startswith("conv")]) == 16
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::8] = 2
    features = model(stripes)
    assert features.shape == (1, 512, 2, 2)
    assert 0.2 < float((features == 0).float().mean()) < 0.995  # trained: few units answer to one pattern
