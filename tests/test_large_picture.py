"""Twenty-four megapixels within four gigabytes, measured in a process of its own."""

import subprocess
import sys

import pytest

MIB = 2**20
# A tiny net takes the place of the usual one, whose 332 to 609 MiB for a tile of 512 x 512 (docs/engine.md)
# are the same whatever the size of the picture. What grows with the picture is measured here.
CODE = """
import resource, sys
import numpy as np
import dipedge as de

resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30))
image = np.zeros((4000, 6000, 3), np.uint8)
image[:] = np.arange(6000)[:, None] % 251
level = de.Level(8, 8, 2, 1, 1)
prior = de.Prior(de.Fourier(3), de.Hourglass((level,)))
result = de.restore(image, de.Denoise(), prior=prior, engine="native", steps=1)
assert result.image.shape == image.shape and result.image.dtype == np.uint8
assert result.image.max() > result.image.min()
# Not ru_maxrss: that begins with what the process that started this one had at its peak.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(len(result.tiles), peak.split()[1])
"""


def test_twenty_four_megapixels_are_fitted_in_four_gigabytes_of_address_space():
    pytest.importorskip("dipedge._native")
    if not sys.platform.startswith("linux"):
        pytest.skip("the peak is read from /proc")
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    tiles, kilobytes = map(int, done.stdout.split())
    assert tiles == 126
    # Input and output of 69 MiB each, the answer as float32 of 275, the process itself 40, and a tile. One
    # float32 copy of the whole picture more would be seen.
    assert kilobytes * 1024 < 600 * MIB
