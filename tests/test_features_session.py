"""Looking into networks from end to end: sessions, presets, the command line, and the real AlexNet."""

import json

import numpy as np
import pytest

import dipedge as de
from dipedge.errors import InputError
from dipedge.images import open_image
from tests.network_weights import state_dict

torch = pytest.importorskip("torch")

nn = torch.nn
# A network for 32 x 32 pictures, small enough to be fitted in a test.
SMALL = de.Prior(de.Noise(4), de.Hourglass((de.Level(8, 8, 2), de.Level(8, 8, 2))), name="small")


def edges():
    """A module that sees edges: eight fixed directions, rectified, pooled."""
    model = nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        model[0].weight.copy_(torch.randn(8, 3, 5, 5, generator=generator) / 5)
        model[0].bias.zero_()
    return model


def options(**changed):
    return {"prior": SMALL, "steps": 30, "threads": 1, "seed": 1} | changed


def test_inverting_brings_the_features_together(engine, picture):
    image = picture(48, 40)
    task = de.InvertFeatures(edges(), "2", size=32, multiple=16)
    result = de.restore(image, task, engine=engine, **options())
    assert result.image.shape == (32, 32, 3) and result.image.dtype == np.uint8
    assert result.history[-1] < 0.5 * result.history[0]


def test_the_loss_is_that_of_the_answer(engine, picture):
    task = de.InvertFeatures(edges(), "2", size=32, multiple=16)
    image = picture(32, 32, dtype="float32")
    with de.Session(task, engine=engine, average=0.0, **options(steps=3)) as session:
        result = session.fit(image)
    from dipedge.objectives import objective_for

    objective = objective_for(task, 0)
    objective.set_target(image)
    assert objective(np.clip(result.image, 0, 1), 0)[0] == pytest.approx(result.loss, rel=1e-3)


def test_engines_agree_on_a_fit_of_features(picture):
    pytest.importorskip("dipedge._native")
    task = de.InvertFeatures(edges(), "2", size=32, multiple=16)
    native, reference = (
        de.restore(picture(32, 32), task, engine=name, precision="fp32", **options(steps=3))
        for name in ("native", "torch")
    )
    assert np.allclose(native.history, reference.history, rtol=1e-4)


def test_a_gray_picture_is_inverted_in_gray(engine, picture):
    task = de.InvertFeatures(edges(), "2", size=None, multiple=1)
    result = de.restore(picture(33, 40, channels=0), task, engine=engine, **options(steps=2))
    assert result.image.shape == (33, 40)


def test_maximising_begins_from_nothing_and_excites_the_unit(engine):
    task = de.MaximizeActivation(edges(), "0", 5, size=(32, 24), multiple=8)
    with de.Session(task, engine=engine, **options()) as session:
        result = session.fit()
    assert np.asarray(result.image).shape == (32, 24, 3)
    assert -result.history[-1] > -result.history[0] + 0.1  # the activation is the negative loss


def test_a_class_score_is_brought_to_its_goal(engine):
    model = nn.Sequential(edges(), nn.Linear(8 * 16 * 16, 3))
    task = de.MaximizeActivation(model, "1", 2, size=32, multiple=16, goal=2.0)
    with de.Session(task, engine=engine, learning_rate=0.01, **options(steps=60)) as session:
        assert min(session.fit().history) < 0.5


def test_a_maximisation_takes_no_picture_and_an_inversion_needs_one(picture):
    with pytest.raises(InputError, match="begins from none"):
        de.restore(picture(32, 32), de.MaximizeActivation(edges(), "0", 5, size=32), prior=SMALL)
    with pytest.raises(InputError, match="needs one"):
        de.restore(None, de.InvertFeatures(edges(), "0", size=32), prior=SMALL)


def test_a_fit_of_a_users_model_says_that_it_cannot_be_saved(tmp_path, picture):
    with de.Session(de.InvertFeatures(edges(), "0", size=32, multiple=16), **options(steps=1)) as session:
        session.fit(picture(32, 32))
        with pytest.raises(InputError, match="holds a model"):
            session.save(tmp_path / "fit.safetensors")


def test_a_unit_that_is_not_there_is_found_before_the_first_step():
    steps = []
    with (
        de.Session(
            de.MaximizeActivation(edges(), "0", 8, size=32), progress=steps.append, **options()
        ) as session,
        pytest.raises(InputError, match="0 to 7"),
    ):
        session.fit()
    assert steps == []


def test_the_next_frame_of_a_stream_is_inverted_from_where_the_last_ended(engine, picture):
    task = de.InvertFeatures(edges(), "2", size=32, multiple=16)
    with de.Session(task, engine=engine, **options()) as session:
        first = session.push(picture(32, 32))
        second = session.push(np.roll(picture(32, 32), 1, axis=1), steps=1)
        scratch = session.fit(np.roll(picture(32, 32), 1, axis=1)).history[0]
    assert first.loss < second.loss < scratch


def test_the_published_nets_stand_in_the_table():
    invert = de.preset(de.InvertFeatures(edges(), "0"), quality="paper")
    activate = de.preset(de.MaximizeActivation(edges(), "0", 1), quality="paper")
    for found in (invert, activate):
        levels = found.prior.network.levels
        assert [level.down for level in levels] == [16, 32, 64, 128, 128, 128]
        assert found.prior.network.downsample == "avg"
        assert (found.steps, found.optimiser.learning_rate, found.average) == (3100, 0.001, 0)
    assert [level.kernel_up for level in invert.prior.network.levels] == [7, 7, 5, 5, 3, 3]
    assert (invert.prior.network.padding, invert.prior.network.upsample) == ("zero", "nearest")
    assert [level.kernel_down for level in activate.prior.network.levels] == [5, 3, 5, 5, 3, 5]
    assert [level.kernel_up for level in activate.prior.network.levels] == [5, 3, 5, 3, 5, 3]
    assert [level.skip for level in activate.prior.network.levels] == [0, 4, 4, 4, 4, 4]
    assert (activate.prior.perturbation, activate.prior.network.upsample) == (0.03, "bilinear")


@pytest.fixture
def weights(folder):
    """A file of tiny AlexNet weights in the working folder."""
    torch.save(state_dict("alexnet"), "alexnet.pth")
    return ("--model", "alexnet", "--weights", "alexnet.pth", "--size", 64)


def test_the_command_line_inverts_a_layer(run, weights):
    code, _, err = run(
        "invert", "in.png", "-o", "out.png", *weights, "--layer", "conv3", "--json", "told.json"
    )
    assert (code, err) == (0, "")
    assert open_image("out.png").size == (64, 64)
    with open("told.json") as file:
        told = json.load(file)
    assert (told["task"], told["layer"], told["steps"]) == ("invert", "conv3", 2)


def test_the_command_line_excites_a_class_without_any_picture(run, weights):
    arguments = ("activate", "-o", "out.png", *weights, "--layer", "fc8", "--unit", 4, "--goal", 3)
    assert run(*arguments)[0] == 0
    assert open_image("out.png").size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("invert", "in.png", "--layer", "conv9"), "layer is 'conv9'"),
        (("invert", "in.png", "--layer", "conv3", "--size", 8), "size is 8"),
        (("activate", "--layer", "conv5", "--unit", 4), "unit is 4; layer 'conv5' has 0 to 3"),
        (("activate", "--layer", "conv5", "--unit", 0, "--size", 16), "does not come through the model"),
        (("activate", "--layer", "conv5", "--unit", 0, "--model", "lenet"), "alexnet, vgg16, vgg19"),
        (
            ("activate", "--layer", "conv5", "--unit", 0, "--model", "vgg16"),
            "vgg16 needs [channels, 3, 3, 3]",
        ),
        (("activate", "--layer", "conv5", "--unit", 0, "--weights", "none.pth"), "none.pth: no such file"),
        (("activate", "--layer", "conv5", "--unit", 0, "--weights", "in.png"), "in.png"),
        (("activate", "--layer", "conv5"), "--unit"),
        (("invert", "in.png", "--layer", "conv3", "--prior", "pip"), "one of dip"),
    ],
)
def test_wrong_input_of_the_commands_is_one_line_and_leaves_no_file(run, folder, weights, arguments, words):
    before = sorted(path.name for path in folder.iterdir())
    given = (
        [*weights, *arguments[1:]]
        if arguments[0] == "activate"
        else [*arguments[1:2], *weights, *arguments[2:]]
    )
    code, _, err = run(arguments[0], *given, "-o", "out.png")
    assert code == 2
    assert words in err and err.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_commands_never_overwrite_the_weights(run, weights):
    code, _, err = run("invert", "in.png", "-o", "alexnet.pth", *weights, "--layer", "conv3")
    assert code == 2 and "also read" in err


def test_inverting_the_real_alexnet_takes_its_features_over(shared, engine, picture):
    path = shared / "data" / "weights" / "alexnet.npz"
    if not path.is_file():
        pytest.skip("no AlexNet weights in the shared data")
    task = de.InvertFeatures(de.models.alexnet(path), "conv3", size=96, multiple=32)
    result = de.restore(picture(96, 96), task, engine=engine, steps=25, threads=1, learning_rate=0.01)
    assert result.history[-1] < 0.5 * result.history[0]
