"""The measurements that look into networks, run to their end on a tiny network and a few steps."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.network_weights import state_dict

torch = pytest.importorskip("torch")


@pytest.fixture
def data(tmp_path, picture):
    """A folder as the shared data's: weights of a tiny AlexNet, a picture to invert, and 20 natural ones."""
    for name in ("weights", "set14", "dip/feature_inversion"):
        (tmp_path / name).mkdir(parents=True)
    state = state_dict(classifier=False)
    np.savez(tmp_path / "weights" / "alexnet.npz", **{name: values.numpy() for name, values in state.items()})
    Image.fromarray(picture(80, 72)).save(tmp_path / "dip" / "feature_inversion" / "monkey.jpg")
    for number in range(20):
        pixels = np.roll(picture(70, 64), 3 * number, axis=number % 2)
        Image.fromarray(pixels).save(tmp_path / "set14" / f"{number:02}.png")
    return tmp_path


def options(data, engine):
    words = ["--data", data, "--size", 64, "--steps", 3, "--threads", 1, "--engine", engine]
    words += ["--json", data / "rows.json", "--sheet", data / "sheet.png"]
    return [str(word) for word in words]


def test_an_inversion_is_measured_beside_its_baselines(data, engine):
    from benchmarks import feature_inversion

    feature_inversion.main([*options(data, engine), "--tv", "0", "10"])
    told = json.loads((data / "rows.json").read_text())
    assert [row["prior"] for row in told["rows"]] == ["hourglass", "pixels, TV 0", "pixels, TV 10"]
    for row in told["rows"]:
        assert row["error_unbound"] > 0 and 0 < row["error"] < 10 and 0 < row["psnr"] < 60
    with Image.open(data / "sheet.png") as sheet:
        assert sheet.size == (4 * 64 + 3 * 8, 64)


def test_an_answer_is_judged_as_the_picture_it_would_be_stored_as():
    from benchmarks.feature_inversion import row_of
    from dipedge.objectives.features import FeatureDistance
    from dipedge.tasks import InvertFeatures

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))
    distance = FeatureDistance(InvertFeatures(model, "0", size=32), 0)
    target = np.ones((32, 32, 3), np.float32)
    distance.set_target(target)
    row = row_of("beyond", target + 1, target, distance)  # clipped, it is the picture itself
    assert row["error"] == 0 and row["error_unbound"] > 0 and row["psnr"] == float("inf")


def test_an_activation_is_measured_beside_natural_pictures(data, engine):
    from benchmarks import activation_maximisation

    activation_maximisation.main([*options(data, engine), "--units", "1", "3"])
    told = json.loads((data / "rows.json").read_text())
    assert [row["unit"] for row in told["rows"]] == [1, 3]
    assert len(told["pictures"]) == 20
    for row in told["rows"]:
        assert row["natural_anywhere"] >= row["natural"]


def test_a_ratio_to_no_excitement_at_all_is_none():
    from benchmarks.activation_maximisation import ratio

    assert ratio(12.0, 3.0) == 4 and ratio(12.0, -1.0) is None and ratio(12.0, 0.0) is None


def test_too_few_natural_pictures_are_an_error(data):
    from benchmarks.looking import natural_pictures

    with pytest.raises(SystemExit, match="20 pictures"):
        natural_pictures(data, 21)
