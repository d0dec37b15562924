"""The report in a real browser: nothing is asked for, nothing complains, and everything moves.

The page is opened from the disk. Skipped where no browser is installed.
"""

import math
import re

import numpy as np
import pytest
from PIL import Image

import dipedge as de
from dipedge.history import History
from tests.browser import Browser, browser_here

pytestmark = pytest.mark.skipif(browser_here() is None, reason="no chromium or chrome is installed")

STEPS, STOP = 400, 290


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A folder with a page of one picture and one of two; the curves are drawn, not fitted."""
    folder = tmp_path_factory.mktemp("pages")
    row, column = np.mgrid[:96, :128] / 20
    clean = np.stack([0.5 + 0.4 * np.sin(row + k * column) for k in range(3)], axis=2)
    noise = np.random.default_rng(0).normal(0, 0.1, clean.shape)
    image = np.clip(clean + noise, 0, 1).astype(np.float32)
    answer = np.clip(clean + 0.2 * noise, 0, 1).astype(np.float32)
    steps = np.arange(1, STEPS + 1)
    seen = np.append(np.arange(10, STEPS + 1, 10), []).astype(int)
    psnr = 28 - 18 * np.exp(-seen / 60) - np.maximum(0, seen - STOP) / 100
    history = History(0.1 * steps**-0.4, seen, psnr, psnr / 40)
    result = de.FitResult(
        answer, de.StopReason.VARIANCE, STEPS, 12.5, 0.01, history, "native", {"isa": "avx2"}, STOP
    )  # fmt: skip
    de.write_report(folder / "one.html", result, image, reference=clean.astype(np.float32), names="waves")
    de.write_report(folder / "two.html", [result, result], [image, image], names=["first", "second"])
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def page(browser, pages):
    """The page of one picture, in a window of a desk's size; what it asked for and complained of is new."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.look(1200, 900)
    browser.open(pages / "one.html")
    return browser


def split(browser, which=0):
    """Where the clip begins, in percent, as the browser computes it; and what the input says."""
    script = f"""(() => {{
        const figure = document.querySelectorAll("[data-compare]")[{which}];
        const clip = getComputedStyle(figure.querySelector(".over")).clipPath;
        return [clip, Number(figure.querySelector("input").value)];
    }})()"""
    clip, value = browser.value(script)
    return float(re.fullmatch(r"inset\(0(?:px)? 0(?:px)? 0(?:px)? ([\d.]+)%\)", clip).group(1)), value


def test_the_page_asks_for_nothing_but_itself_and_complains_of_nothing(page, pages):
    x, y, width, height = page.place(".plot")
    page.mouse("mouseMoved", x + width / 2, y + height / 2, "none")
    page.value("document.querySelector(\"[data-show='true picture']\").click()")
    page.value("new Promise((done) => setTimeout(done, 300))")
    outside = [address for address in page.requests if not address.startswith("data:image/png")]
    assert outside == [(pages / "one.html").as_uri()]
    assert page.complaints == []


def test_the_watch_on_requests_and_complaints_sees_what_is_there(browser, tmp_path):
    """Else the test before this one could not fail."""
    browser.requests.clear()
    browser.complaints.clear()
    (tmp_path / "wrong.html").write_text('<img src="other.png"><script>missing()</script>')
    browser.open(tmp_path / "wrong.html")
    browser.value("new Promise((done) => setTimeout(done, 300))")
    assert any(address.endswith("other.png") for address in browser.requests)
    assert any("missing is not defined" in text for text in browser.complaints)


def test_the_page_may_ask_for_nothing_even_if_something_were_in_it(page):
    assert page.value("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert any("Content Security Policy" in text for text in page.complaints)


def test_dragging_moves_the_clip_to_the_pointer(page):
    assert split(page) == (50, 50)
    x, y, width, height = page.place(".frame")
    page.mouse("mousePressed", x + 0.25 * width, y + height / 2)
    assert split(page)[0] == pytest.approx(25, abs=1)
    for share in (0.4, 0.6, 0.8):
        page.mouse("mouseMoved", x + share * width, y + height / 2)
        assert split(page)[0] == pytest.approx(100 * share, abs=1)
    page.mouse("mouseMoved", x + 2 * width, y + height / 2)  # beyond the picture: as far as it goes
    assert split(page) == (100, 100)
    page.mouse("mouseReleased", x + 2 * width, y + height / 2)
    page.mouse("mouseMoved", x + 0.1 * width, y + height / 2, "none")
    assert split(page) == (100, 100)


def test_arrow_keys_move_the_clip_and_are_said_aloud(page):
    page.value('document.querySelector("[data-compare] input").focus()')
    for _ in range(5):
        page.key("ArrowRight", 39)
    assert split(page) == (55, 55)
    page.key("ArrowLeft", 37)
    assert split(page) == (54, 54)
    page.key("Home", 36)
    assert split(page) == (0, 0)
    said = page.value('document.querySelector("[data-compare] input").getAttribute("aria-valuetext")')
    assert said == "100 % of the width is the restored picture"


def test_the_slider_and_the_charts_are_reached_by_the_tabulator(page):
    seen = []
    for _ in range(8):
        page.key("Tab", 9)
        seen.append(page.value("document.activeElement.type || document.activeElement.className"))
    assert seen[:6] == ["range", "button", "button", "plot", "plot", "plot"]


def test_a_finger_moves_the_clip(browser, pages):
    browser.look(390, 800, touch=True)
    browser.open(pages / "one.html")
    x, y, width, height = browser.place(".frame")
    browser.touch("touchStart", (x + 0.5 * width, y + height / 2))
    for share in (0.55, 0.65, 0.75):
        browser.touch("touchMove", (x + share * width, y + height / 2))
    browser.touch("touchEnd")
    assert split(browser)[0] == pytest.approx(75, abs=1)


def test_the_restored_picture_is_right_of_the_line_and_the_other_left_of_it(page, tmp_path):
    x, y, width, height = page.place(".frame")
    page.screenshot(tmp_path / "shot.png", whole=False)
    seen = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB")).astype(float)
    middle = seen[int(y + 0.6 * height) : int(y + 0.95 * height)]
    left = middle[:, int(x + 0.1 * width) : int(x + 0.4 * width)]
    right = middle[:, int(x + 0.6 * width) : int(x + 0.9 * width)]
    # Five times the noise on the left, and differences between neighbours show it.
    roughness = [np.abs(np.diff(side, axis=0)).mean() for side in (left, right)]
    assert roughness[0] > 2 * roughness[1]


def test_the_true_picture_can_be_compared_with_too(page):
    def under():
        return page.value(
            '[...document.querySelectorAll(".under")]'
            ".filter((one) => one.checkVisibility()).map((one) => one.dataset.name)"
        )

    assert under() == ["as it was"]
    x, y, width, height = page.place("[data-show='true picture']")
    page.mouse("mousePressed", x + width / 2, y + height / 2)
    page.mouse("mouseReleased", x + width / 2, y + height / 2)
    assert under() == ["true picture"]
    assert page.value('document.querySelector(".tag.left").textContent') == "true picture"
    pressed = page.value("[...document.querySelectorAll('button')].map((one) => one.ariaPressed)")
    assert pressed == ["false", "true"]


def test_curves_have_as_many_points_as_the_history_in_the_browser(page):
    counts = page.value('[...document.querySelectorAll("polyline")].map((one) => one.points.numberOfItems)')
    assert counts == [STEPS, STEPS // 10, STEPS // 10]


def test_the_pointer_shows_the_values_of_its_step_in_every_chart(page):
    x, y, width, height = page.place(".psnr .plot")
    page.mouse("mouseMoved", x + width / 2, y + height / 2, "none")
    loss, psnr, ssim = page.value('[...document.querySelectorAll(".chart output")].map((one) => one.value)')
    step = int(re.match(r"step (\d+): ", loss).group(1))
    assert abs(step - STEPS / 2) <= 2
    assert float(loss.split(": ")[1]) == pytest.approx(0.1 * step**-0.4, rel=1e-3)
    assert psnr == f"step 200: {28 - 18 * math.exp(-200 / 60):.2f} dB"
    assert ssim.startswith("step 200: 0.")
    page.mouse("mouseMoved", 1, 1, "none")
    assert page.value('[...document.querySelectorAll(".chart output")].map((one) => one.value)') == [""] * 3


def test_the_arrow_keys_go_from_point_to_point_beginning_at_the_answer(page):
    page.key("Tab", 9)
    for _ in range(4):
        page.key("Tab", 9)
    page.key("ArrowRight", 39)
    assert page.value('document.querySelector(".psnr output").value').startswith(f"step {STOP + 10}: ")
    page.key("End", 35)
    assert page.value('document.querySelector(".psnr output").value').startswith(f"step {STEPS}: ")


def test_the_answers_step_is_marked_where_it_is_on_the_axis(page):
    left, _, width, _ = page.place(".psnr .plot")
    stop, dot = (page.place(f".psnr .{name}") for name in ("stop", "dot"))
    assert stop[0] - left == pytest.approx(width * STOP / STEPS, abs=2)
    assert dot[0] + dot[2] / 2 - left == pytest.approx(width * STOP / STEPS, abs=2)
    # The dot lies on the line: the two are placed by different code, HTML and SVG.
    on_line = page.value(f"""(() => {{
        const line = document.querySelector(".psnr polyline"), point = line.points.getItem({STOP // 10 - 1});
        const share = point.x / line.ownerSVGElement.viewBox.baseVal.width;
        return [share, point.matrixTransform(line.getScreenCTM()).y];
    }})()""")
    assert dot[1] + dot[3] / 2 == pytest.approx(on_line[1], abs=1.5)
    assert on_line[0] == pytest.approx(STOP / STEPS, abs=1e-4)


def test_each_picture_of_a_page_has_its_own_slider(browser, pages):
    browser.look(1200, 900)
    browser.open(pages / "two.html")
    x, y, width, height = browser.place("section:nth-of-type(2) .frame")
    browser.mouse("mousePressed", x + 0.3 * width, y + height / 2)
    browser.mouse("mouseReleased", x + 0.3 * width, y + height / 2)
    assert split(browser, 0) == (50, 50)
    assert split(browser, 1)[0] == pytest.approx(30, abs=1)


@pytest.mark.parametrize("width", [320, 390, 768, 1200, 2400])
def test_no_width_needs_scrolling_sideways_and_all_text_can_be_read(browser, pages, width):
    browser.look(width, 900, touch=width < 500)
    browser.open(pages / "one.html")
    assert browser.value("document.documentElement.scrollWidth") == width
    sizes = browser.value(
        "[...document.querySelectorAll('body *')].filter((one) => one.textContent && one.checkVisibility())"
        ".map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 12


def brightness(browser):
    """Of the page's ground and of its text, 0..255."""
    script = """["backgroundColor", "color"].map((name) => getComputedStyle(document.body)[name])"""
    return [sum(map(float, re.findall(r"\d+", colour)[:3])) / 3 for colour in browser.value(script)]


def test_the_page_is_light_by_day_and_dark_by_night(browser, pages, tmp_path):
    for dark in (False, True):
        browser.look(1200, 900, dark=dark)
        browser.open(pages / "one.html")
        ground, text = brightness(browser)
        assert (ground < 50, text > 200) == ((True, True) if dark else (False, False))
        browser.screenshot(tmp_path / "shot.png")
        seen = np.asarray(Image.open(tmp_path / "shot.png").convert("L"))
        assert np.median(seen) < 60 if dark else np.median(seen) > 200


@pytest.mark.parametrize("dark", [False, True])
def test_all_text_stands_out_from_its_ground(browser, pages, dark):
    """Contrast of 4.5 to 1 or more (WCAG 2.2, 1.4.3) for everything written on the page's own colours."""
    browser.look(1200, 900, dark=dark)
    browser.open(pages / "one.html")
    pairs = browser.value("""(() => {
        const ground = (one) => {
            for (let at = one; at; at = at.parentElement) {
                const colour = getComputedStyle(at).backgroundColor;
                if (!colour.startsWith("rgba")) return colour;
            }
        };
        return [...document.querySelectorAll("h1, h2, h3, p, dt, dd, small, th, td, b, figcaption, button")]
            .filter((one) => one.textContent.trim()).map((one) => [getComputedStyle(one).color, ground(one)]);
    })()""")

    def light(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    assert len(pairs) > 40
    for colour, ground in {tuple(pair) for pair in pairs}:
        low, high = sorted((light(colour), light(ground)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (colour, ground)
