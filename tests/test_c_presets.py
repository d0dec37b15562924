"""What the C API has in C++ of its own is what Python has: presets, random pixels, the estimate of noise."""

from __future__ import annotations

import runpy
import shutil

import numpy as np
import pytest

from dipedge import presets
from dipedge.noise import noise_variance
from tests.c_library import ROOT, checked_run

MAKER = ROOT / "bindings" / "c" / "make_preset_rows.py"
PROGRAM = """
#include <cstdio>
#include <cstdlib>

#include "bindings/c/noise.h"
#include "bindings/c/stopping.h"

using namespace dipedge::c_api;

// Three numbers, and a picture of that size on standard input: its noise. Two: random pixels.
int main(int count, char** words) {
    long sides[3] = {0, 0, 0};
    for (int i = 1; i < count; ++i) sides[i - 1] = std::atol(words[i]);
    if (sides[2]) {
        std::vector<float> pixels(sides[0] * sides[1] * sides[2]);
        if (std::fread(pixels.data(), 4, pixels.size(), stdin) != pixels.size()) return 1;
        std::printf("%a", noise_variance(pixels.data(), (int)sides[0], (int)sides[1], (int)sides[2]));
    } else {
        for (const auto pixel : sampled_pixels(sides[0], sides[1])) std::printf("%u ", pixel);
    }
}
"""


def test_the_table_of_presets_is_the_one_that_python_makes():
    made = runpy.run_path(str(MAKER))["text"]()
    assert (ROOT / "bindings" / "c" / "preset_rows.h").read_text() == made, f"run {MAKER.name}"


def test_a_changed_preset_changes_the_table(monkeypatch):
    before = runpy.run_path(str(MAKER))["text"]()
    monkeypatch.setitem(presets._LIMITS, "fast", 641)
    after = runpy.run_path(str(MAKER))["text"]()
    changed = [line for line in after.splitlines() if line not in before.splitlines()]
    assert len(changed) == 1 and '"denoise", "", "pip", "fast"' in changed[0]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """``program(*numbers, input=b"")``: what the program above prints."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler is called c++")
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.cpp").write_text(PROGRAM)
    sources = [ROOT / "bindings" / "c" / name for name in ("sampled_pixels.cpp", "noise.cpp")]
    flags = ["-std=c++17", "-O1", "-I", ROOT, "-I", ROOT / "kernels"]
    checked_run(compiler, *flags, folder / "program.cpp", *sources, "-o", folder / "program")
    return lambda *numbers, **given: checked_run(folder / "program", *numbers, **given).stdout.decode()


@pytest.mark.parametrize(
    ("total", "wanted"),
    [(300, 300), (256, 400), (9999, 5000), (16385, 16384), (65536, 16384), (10**6, 16384)],
)
def test_random_pixels_are_those_of_numpy(program, total, wanted):
    """As ``variance.py`` draws them: few of many by Floyd's algorithm, many of few from a shuffle's tail."""
    expected = np.arange(total)
    if wanted < total:
        expected = np.sort(np.random.default_rng(0).choice(total, wanted, replace=False))
    np.testing.assert_array_equal([int(word) for word in program(total, wanted).split()], expected)


@pytest.mark.parametrize("shape", [(16, 16, 3), (17, 23, 3), (64, 31, 1), (2, 2, 1), (1, 9, 3)])
def test_the_estimate_of_noise_is_the_one_of_python(program, shape):
    pixels = np.random.default_rng(2).normal(0.5, 0.1, shape).clip(0, 1).astype(np.float32)
    assert float.fromhex(program(*shape, input=pixels.tobytes())) == noise_variance(pixels)
