"""What ``import dipedge`` offers, and what it leaves unloaded."""

import ast
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dipedge as de


def _python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def test_importing_loads_neither_torch_nor_native_code_nor_anything_slow():
    loaded = json.loads(_python("import dipedge, sys, json; print(json.dumps(sorted(sys.modules)))"))
    for module in ("torch", "dipedge._native", "numpy", "PIL", "typer", "rich"):
        assert module not in loaded


def test_using_the_native_engine_loads_no_torch():
    pytest.importorskip("dipedge._native")
    code = """
import sys, numpy, dipedge as de
level = de.Level(8, 8, 2, 1, 1)
prior = de.Prior(de.Fourier(3), de.Hourglass((level,)))
image = numpy.full((16, 16, 3), 90, numpy.uint8)
de.restore(image, de.Denoise(), prior=prior, engine="native", steps=2)
print("torch" in sys.modules)
"""
    assert _python(code).strip() == "False"


def test_every_public_name_is_there_and_listed_once():
    tree = ast.parse(Path(de.__file__).read_text())
    typed = {
        (node.module, alias.name)
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
    }
    assert typed == {(home, name) for home, names in de._HOMES.items() for name in names}
    assert {name for _, name in typed} | {"__version__"} == set(de.__all__)
    for name in de.__all__:
        assert getattr(de, name) is not None
        assert name in dir(de)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = de.nothing


def test_the_version_is_that_of_the_installed_package():
    assert version("dipedge") == de.__version__
