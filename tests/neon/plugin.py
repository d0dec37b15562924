"""Runs tests of the native engine on the emulated processor, unchanged:

    python -m pytest -p tests.neon.plugin tests/test_kernel_adam.py

What is parametrised by instruction set runs with ``neon`` only; all else takes the best one, which it is.
"""

from __future__ import annotations

import sys

from tests.neon import emulated

# Before anything has imported it: everybody then gets the emulated one.
assert "dipedge._native" not in sys.modules
sys.modules["dipedge._native"] = emulated


def pytest_collection_modifyitems(config, items):
    """Leaves out the tests of other instruction sets."""
    others = [
        item
        for item in items
        if hasattr(item, "callspec") and item.callspec.params.get("isa", "neon") != "neon"
    ]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)
