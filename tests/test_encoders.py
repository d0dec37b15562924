"""The ready encoders, on tiny models with random weights that the tests make and save.

Real weights are not to be had where these tests run, so nothing here says how good a picture is; it says
that a model and its tokenizer are read, that pictures and texts come out as codes of one length, and that a
gradient comes back.
"""

import numpy as np
import pytest

import dipedge as de

torch = pytest.importorskip("torch")

from dipedge.objectives import objective_for  # noqa: E402
from tests.tiny_clips import TINY, save_clip, save_open_clip  # noqa: E402

# Both packages warn of what they themselves will change; that is nothing of ours.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def check_pair(pair, length):
    """Codes of one length, a gradient for the picture and none for the model, the same answer twice."""
    pictures = torch.rand(3, 3, pair.size, pair.size, generator=torch.Generator().manual_seed(0))
    pictures.requires_grad_()
    codes = pair.image(pictures)
    assert codes.shape == (3, length) and pair.text("a red fox").shape == (1, length)
    (gradient,) = torch.autograd.grad(codes.square().sum(), pictures)
    assert gradient.abs().sum() > 0
    assert torch.equal(pair.image(pictures), codes)
    assert not torch.allclose(pair.text("a red fox"), pair.text("snow"))
    loss, slope = objective_for(de.MatchText("a red fox", pair, size=40), 0)(
        np.full((40, 40, 3), 0.4, np.float32), 0
    )
    assert np.isfinite(loss) and np.abs(slope).max() > 0


def fit(pair, prior):
    """The losses of a short fit."""
    task = de.MatchText("a red fox", pair, size=32, cutouts=2)
    with de.Session(task, prior=prior, engine="torch", steps=25, threads=1) as session:
        return session.fit().history


def test_a_saved_hugging_face_model_becomes_a_pair(tmp_path, tiny_pip):
    model = save_clip(tmp_path)
    pair = de.encoders.hugging_face(str(tmp_path))
    check_pair(pair, 10)
    assert (pair.size, pair.mean, pair.std) == (32, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    # The codes are the model's own, as it gives them for a picture and a text together.
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([[0, 3, 4, 1]])  # <start> red fox <end>
    with torch.no_grad():
        whole = model(input_ids=tokens, pixel_values=pictures, attention_mask=torch.ones_like(tokens))
    unit = torch.nn.functional.normalize
    assert torch.allclose(unit(pair.image(pictures)), whole.image_embeds, atol=1e-5)
    assert torch.allclose(unit(pair.text("red fox")), whole.text_embeds, atol=1e-5)
    losses = fit(pair, tiny_pip)
    assert losses[-5:].mean() < losses[:5].mean()


def test_without_settings_for_pictures_they_are_those_of_clip(tmp_path):
    save_clip(tmp_path, image_settings=False)
    pair = de.encoders.hugging_face(str(tmp_path))
    assert pair.mean == (0.48145466, 0.4578275, 0.40821073)
    assert pair.std == (0.26862954, 0.26130258, 0.27577711)


def test_a_text_that_is_too_long_is_cut_off(tmp_path):
    save_clip(tmp_path)
    assert de.encoders.hugging_face(str(tmp_path)).text("a red fox in snow " * 20).shape == (1, 10)


def test_a_model_without_a_pair_of_encoders_is_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    save_clip(tmp_path)
    config = transformers.CLIPVisionConfig(**TINY, image_size=32, patch_size=8)
    transformers.CLIPVisionModel(config).save_pretrained(tmp_path)
    with pytest.raises(de.InputError, match=r"is a CLIPVisionModel; it has no pair of encoders$"):
        de.encoders.hugging_face(str(tmp_path))


def test_a_folder_without_a_model_is_one_line(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(de.FileError) as caught:
        de.encoders.hugging_face(str(tmp_path))
    assert str(caught.value).startswith(f"Hugging Face model {str(tmp_path)!r} could not be had: ")
    assert "\n" not in str(caught.value)


def test_an_open_clip_model_becomes_a_pair(tmp_path, tiny_pip):
    name, file, model = save_open_clip(tmp_path)
    pair = de.encoders.open_clip(name, file)
    check_pair(pair, 10)
    assert pair.size == 32 and np.allclose(pair.mean, (0.48145466, 0.4578275, 0.40821073))
    pictures = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(pair.image(pictures), model.encode_image(pictures), atol=1e-6)
    losses = fit(pair, tiny_pip)
    assert losses[-5:].mean() < losses[:5].mean()


def test_open_clip_weights_that_are_not_there_are_one_line(tmp_path):
    name, _, _ = save_open_clip(tmp_path)
    with pytest.raises(
        de.FileError, match=r"open_clip model 'dipedge-tiny' with weights 'absent.pt' could not"
    ):
        de.encoders.open_clip(name, "absent.pt")
    with pytest.raises(de.InputError, match=r"open_clip has no model 'ViT-Z'; open_clip.list_models"):
        de.encoders.open_clip("ViT-Z")


@pytest.mark.parametrize(
    ("make", "module", "package"),
    [
        (de.encoders.open_clip, "open_clip", "open_clip_torch"),
        (de.encoders.hugging_face, "transformers", "transformers"),
    ],
)
def test_a_package_that_is_missing_is_named_with_how_to_get_it(make, module, package, monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("dipedge.encoders.import_module", absent)
    words = rf"^encoders of {module} need the package {package}; pip install dipedge\[text\]$"
    with pytest.raises(de.InputError, match=words):
        make()


def test_a_package_that_does_not_load_is_one_line(monkeypatch):
    def broken(name):
        raise RuntimeError("operator nms does not exist\nand more")

    monkeypatch.setattr("dipedge.encoders.import_module", broken)
    words = "^the package transformers cannot be loaded here: operator nms does not exist$"
    with pytest.raises(de.InputError, match=words):
        de.encoders.hugging_face("x")


def test_models_for_pictures_that_are_not_square_are_refused():
    from dipedge.encoders import _square

    assert _square("x", 224) == _square("x", (224, 224)) == 224
    with pytest.raises(de.InputError, match=r"model 'x' takes pictures of \(224, 336\); only square ones"):
        _square("x", (224, 336))
