"""The report: one page that holds all it shows, about one picture or several, from Python and by command."""

import base64
import io
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge.history import History
from dipedge.report_page import curves, pictures
from dipedge.report_page.words import brief
from dipedge.result import FittedMember, FittedTile

ROOT = Path(__file__).resolve().parent.parent
TILES = de.Tiles(32, 8)


class Page(HTMLParser):
    """What stands in a page: elements with their attributes, and the text of each kind of element."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.texts, self.open = [], {}, []
        self.source = Path(path).read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(text)

    def every(self, tag, word=""):
        return [told for name, told in self.elements if name == tag and word in (told.get("class") or "")]

    def data(self):
        """What the script of each picture's charts is given."""
        return [json.loads(one) for one in self.texts["script"] if one.startswith("{")]


@pytest.fixture
def written(opened, noisy, tmp_path):
    """``written(**options)``: a fit with a reference, its page and (result, image, reference)."""

    def make(size=(16, 20), options=None, **given):
        image, clean = noisy(*size)
        session = opened(**options or {})
        result = session.fit(image, reference=clean)
        given = {"reference": clean, "session": session} | given
        de.write_report(tmp_path / "out.html", result, image, **given)
        return Page(tmp_path / "out.html"), (result, image, clean)

    return make


def shown(element):
    """The picture that an <img> holds."""
    kind, _, code = element["src"].partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(code))))


def test_a_page_is_closed_in_itself(written):
    page, _ = written()
    assert page.open == []
    for tag, told in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert told.get(name, "data:").startswith("data:"), (tag, name)
        assert not any(name.startswith("on") for name in told)
    assert re.findall(r"https?:|url\(|@import|fetch\(|XMLHttp|WebSocket", page.source) == []
    policy = next(told["content"] for told in page.every("meta") if "http-equiv" in told)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_pictures_on_the_page_are_those_that_went_in_and_came_out(written):
    page, (result, image, clean) = written()
    [over] = page.every("img", "over")
    np.testing.assert_array_equal(shown(over), np.rint(255 * result.image))
    under = {told["data-name"]: shown(told) for told in page.every("img", "under")}
    np.testing.assert_array_equal(under["as it was"], np.rint(255 * image))
    np.testing.assert_array_equal(under["true picture"], np.rint(255 * clean))


def test_curves_have_as_many_points_as_the_history(written):
    page, (result, *_) = written(options={"steps": 9, "measure_every": 2})
    counts = [len(told["points"].split()) for told in page.every("polyline")]
    assert counts == [9, len(result.history.psnr), len(result.history.ssim)] == [9, 6, 6]
    [data] = page.data()
    assert (data["last"], data["stops"]) == (9, [9])
    [[steps, losses]] = data["charts"]["loss"]["lines"]
    assert steps == list(range(1, 10))
    np.testing.assert_allclose(losses, result.history.loss, rtol=1e-4)
    [[steps, values]] = data["charts"]["psnr"]["lines"]
    assert steps == result.history.steps_measured.tolist()
    np.testing.assert_allclose(values, result.history.psnr, rtol=1e-4)


def test_the_page_says_why_the_fit_ended_and_all_its_settings_and_figures(written):
    page, (result, *_) = written(options={"seed": 7})
    text = " ".join(text for tag, texts in page.texts.items() if tag != "style" for text in texts)
    for words in (
        "the answer is that of step 5", "answer: step 5", f"{result.psnr:.2f} dB", f"{result.ssim:.4f}",
        "Denoise()", "MaxSteps(steps=5)", "native", "16 pixels", de.__version__, result.device["isa"],
    ):  # fmt: skip
        assert words in text, words
    rows = dict(zip(page.texts["th"], page.texts["td"], strict=True))
    assert (rows["seed"], rows["steps"]) == ("7", "5")


@pytest.mark.parametrize("how", [{"tiles": TILES}, {"ensemble": 3}, {"tiles": TILES, "ensemble": 2}])
def test_every_tile_and_member_has_its_curve_and_its_row(written, how):
    page, (result, *_) = written(size=(32, 50), options={"measure_every": 1, **how})
    count = len(result.history.lengths)
    assert count > 1
    points = [len(told["points"].split()) for told in page.every("polyline")]
    assert points == [5] * (3 * count)
    assert page.data()[0]["stops"] == [5] * count
    assert len(page.every("i", "dot")) == 3 * count
    assert f"The {len(result.members or result.tiles)} " in "".join(page.texts["summary"])


def test_several_pictures_share_a_page_and_a_gap_says_so(opened, noisy, tmp_path):
    images, truths = zip(*(noisy(16, 20, seed=seed) for seed in range(2)), strict=True)
    results = opened().fit(list(images), reference=[truths[0], None])
    de.write_report(
        tmp_path / "out.html", [*results, None], [*images, images[0]], reference=[truths[0], None, None]
    )  # fmt: skip
    page = Page(tmp_path / "out.html")
    assert page.texts["h2"] == ["picture 1", "picture 2", "picture 3"]
    assert "the fit was not begun" in page.source
    assert len(page.every("img", "over")) == 2
    assert [len(data["charts"]) for data in page.data()] == [3, 1]
    ids = re.findall(r' id="([^"]+)"', page.source)
    assert len(ids) == len(set(ids)) == 2


def test_names_cannot_break_the_page(written):
    evil = '</script><script>alert("1")</script>&"\'$style'
    page, _ = written(names=evil)
    assert page.texts["h2"] == [evil]
    assert len(page.every("script")) == 2


@pytest.mark.parametrize("channels", [0, 1, 3, 4])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_every_kind_of_picture_can_be_shown(opened, picture, tmp_path, channels, dtype):
    image = picture(16, 20, channels, dtype)
    de.write_report(tmp_path / "out.html", opened(steps=1).fit(image), image)
    [under] = Page(tmp_path / "out.html").every("img", "under")
    expected = np.rint(255.0 * image / (np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1))
    expected = expected[..., :3] if channels == 4 else expected
    np.testing.assert_allclose(shown(under), np.squeeze(expected), atol=1 if dtype == "uint16" else 0)


def test_an_enlarged_picture_is_compared_with_lanczos(opened, picture, tmp_path):
    small, large = picture(16, 20), picture(32, 40)
    result = opened(task=de.SuperResolve(2), steps=1).fit(small, reference=large)
    de.write_report(tmp_path / "out.html", result, small, reference=large)
    page = Page(tmp_path / "out.html")
    assert {shown(told).shape for told in page.every("img")} == {(32, 40, 3)}
    assert "Lanczos: " in page.source


def test_a_large_picture_is_reduced_beside_a_detail_that_is_not(opened, noisy, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "DETAIL", 20)
    monkeypatch.setattr("dipedge.report_page.LARGEST_SIDE", 40)
    image, _ = noisy(32, 80)
    result = opened(steps=1, tiles=None).fit(image)
    de.write_report(tmp_path / "out.html", result, image)
    page = Page(tmp_path / "out.html")
    whole, detail = (shown(told) for told in page.every("img", "over"))
    assert (whole.shape, detail.shape) == ((16, 40, 3), (20, 20, 3))
    np.testing.assert_array_equal(detail, np.rint(255 * result.image)[6:26, 30:50])
    assert "80 x 32 pixels, shown reduced to 40 x 16" in page.source


def test_pictures_of_many_are_shown_smaller():
    from dipedge.report_page import largest_side

    assert largest_side(1) == largest_side(4) > largest_side(5)


def test_a_difference_is_amplified_as_far_as_it_stays_in_the_scale():
    first = np.full((20, 20, 3), 100, np.uint8)
    for offset, factor in ((1, 32), (3, 32), (5, 16), (20, 4), (60, 2), (100, 1)):
        seen, found = pictures.difference(first + np.uint8(offset), first)
        assert found == factor
        assert (seen == np.clip(round(127.5 + offset * factor), 0, 255)).all()
    assert pictures.difference(first, first)[1] == 32


def test_parts_of_an_answer_are_shown(opened, noisy, tmp_path):
    image, _ = noisy()
    result = opened(task=de.Enhance(1.0), steps=2).fit(image)
    de.write_report(tmp_path / "out.html", result, image)
    assert {"coarse", "detail"} <= {told["alt"] for told in Page(tmp_path / "out.html").every("img")}


def test_a_task_without_a_picture_has_a_page_too(tmp_path, picture):
    history = History(np.array([-1.0, -2.0, -2.5]))  # an activation that grows
    result = de.FitResult(picture(), de.StopReason.STEPS, 3, 1.0, -2.5, history, "torch", {}, 3)
    de.write_report(tmp_path / "out.html", result)
    page = Page(tmp_path / "out.html")
    assert len(page.every("img", "over")) == 1 and page.every("input") == []
    [data] = page.data()
    assert (data["charts"]["loss"]["log"], list(data["charts"])) == (False, ["loss"])


def test_answers_of_another_shape_than_the_picture_stand_beside_it(tmp_path, picture):
    history = History(np.array([0.2, 0.1]))
    result = de.FitResult(picture(24, 24), de.StopReason.STEPS, 2, 1.0, 0.1, history, "torch", {}, 2)
    de.write_report(tmp_path / "out.html", result, picture(16, 40))
    page = Page(tmp_path / "out.html")
    assert {told["alt"] for told in page.every("img")} == {"restored", "as it was"}
    assert page.every("input") == []


def test_tasks_that_look_into_networks_have_their_pages(tmp_path, picture):
    pytest.importorskip("torch")
    from tests.test_features_session import edges, options

    tasks = (
        (de.InvertFeatures(edges(), "2", size=32, multiple=16), [picture(48, 40)]),
        (de.MaximizeActivation(edges(), "2", 3, size=32), []),
    )
    for number, (task, image) in enumerate(tasks):
        with de.Session(task, engine="torch", **options(steps=3)) as session:
            result = session.fit(*image)
        de.write_report(tmp_path / f"{number}.html", result, *image, session=session)
        page = Page(tmp_path / f"{number}.html")
        assert [len(told["points"].split()) for told in page.every("polyline")] == [3]
        assert type(task).__name__ in page.source


def test_an_identical_answer_has_a_page_though_its_psnr_is_infinite(tmp_path, picture):
    seen = np.array([1, 2])
    history = History(np.array([0.2, 0.0]), seen, np.array([np.inf, np.inf]), np.array([1.0, 1.0]))
    result = de.FitResult(picture(), de.StopReason.STEPS, 2, 1.0, 0.0, history, "native", {}, 2)
    de.write_report(tmp_path / "out.html", result, picture(), reference=picture())
    page = Page(tmp_path / "out.html")
    assert "identical" in page.source
    assert list(page.data()[0]["charts"]) == ["loss", "ssim"]


def test_very_long_histories_are_thinned_and_say_so():
    history = History(np.linspace(1, 0.5, 50_001))
    result = de.FitResult(None, de.StopReason.STEPS, 50_001, 1.0, 0.5, history, "native", {}, 50_001)
    html = curves.charts(result)
    [line] = re.findall(r'<polyline points="([^"]+)"', html)
    assert len(line.split()) == 16_667
    assert line.split()[-1].startswith("1000.0,")
    assert "one step in 3 is drawn" in html


def test_a_scale_has_three_to_six_round_values():
    for low, high in ((0, 1), (0.2, 0.31), (9.7, 28.3), (-3.0, -1.0), (0, 11000), (0, 7)):
        ticks = curves.round_values(low, high)
        assert 3 <= len(ticks) <= 7
        assert all(low <= tick <= high for tick in ticks)
    ticks = curves.Scale(0.007, 0.12, True).ticks()
    assert ticks == pytest.approx([0.01, 0.03, 0.1])
    assert len(curves.Scale(1e-5, 1.0, True).ticks()) == 6


def test_the_answers_step_of_each_fit_is_marked_in_their_order():
    reason = de.StopReason.STEPS
    went = ((5, 3), (0, 0), (5, 4))  # steps, and the answer's; the second tile was not reached
    tiles = tuple(FittedTile(0, 0, 8, 8, steps, 1.0, chosen, 0.1, reason) for steps, chosen in went)
    members = (
        FittedMember(0, 10, 1.0, 7, 0.1, reason, tiles),
        FittedMember(1, 6, 1.0, 2, 0.1, reason),
    )
    result = de.FitResult(
        None, reason, 16, 1.0, 0.1, History(np.ones(16)), "native", {}, 9, members=members
    )  # fmt: skip
    assert curves.chosen_steps(result) == [3, 4, 2]


def test_settings_are_written_as_they_would_be_called():
    assert brief(de.MaxSteps(30) | de.Deadline(ms=5)) == "MaxSteps(steps=30) | Deadline(ms=5)"
    assert brief(de.Denoise()) == "Denoise()"
    assert brief(de.Inpaint(np.ones((4, 4)))) == "Inpaint(mask=...)"
    assert brief((de.MaxSteps(3) & de.Deadline(ms=5)) | de.NoiseFloor()).endswith(") | NoiseFloor()")


def test_what_does_not_fit_together_is_one_sentence(opened, noisy, tmp_path):
    image, clean = noisy()
    result = opened(steps=1).fit(image)
    with pytest.raises(de.InputError, match="image is a list of 1; it must be a list of 2, as result is"):
        de.write_report(tmp_path / "out.html", [result, result], [image])
    with pytest.raises(de.InputError, match="reference is a ndarray; it must be a list of 2"):
        de.write_report(tmp_path / "out.html", [result, result], reference=clean)
    with pytest.raises(de.InputError, match="reference is 16 x 19 x 3; the restored picture"):
        de.write_report(tmp_path / "out.html", result, image, reference=clean[:, :-1])
    with pytest.raises(de.FileError, match="there is no folder"):
        de.write_report(tmp_path / "no" / "out.html", result, image)
    assert os.listdir(tmp_path) == []


def test_a_failed_write_leaves_the_old_page(opened, noisy, tmp_path, monkeypatch):
    image, _ = noisy()
    result = opened(steps=1).fit(image)
    (tmp_path / "out.html").write_text("old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(de.FileError, match="No space left"):
        de.write_report(tmp_path / "out.html", result, image)
    assert os.listdir(tmp_path) == ["out.html"] and (tmp_path / "out.html").read_text() == "old"


def test_everything_the_page_is_made_of_is_in_the_package():
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folder = ROOT / "dipedge" / "report_page"
    beside = {path.name for path in folder.iterdir() if path.is_file() and path.suffix != ".py"}
    assert beside == set(told["dipedge.report_page"])
