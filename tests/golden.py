"""Compares engines with values computed by the published implementations: ``python -m tests.golden DIR``.

Reads every ``dip_skip_*.npz``, ``pip_skip*.npz``, ``lanczos.npz``, ``lanczos_conv.npz`` and
``fourier.npz`` in DIR, runs it through the engines, and prints one line per file and engine with the
relative L2 errors of output, gradients, Adam losses and parameters after three Adam steps, the worst
tensor named. Ends with 1 when one is above its limit or cannot be computed, 2 when there is no file.

Beside a net's gradients, losses or parameters above the limit the line says what float32 rounding alone
does to that number (see ``golden_rounding``): the spread measured in the reference, and for parameters the
engine's error after single Adam steps from the exact path. With ``--judge-rounding`` a number passes that is
at most twice that spread, if every single step is within the limit; without it the limits alone decide.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from dipedge.engines import get_engine
from dipedge.errors import DipedgeError
from tests.golden_kernels import CHECKS, kernels_of
from tests.golden_networks import Arrays, Finding, compare, measure, stored
from tests.golden_rounding import spread, step_by_step

ENGINES = ("torch", "native")
LIMITS = {
    "torch": {"output": 1e-6, "gradients": 1e-5, "losses": 1e-4, "parameters": 1e-3},
    "native": {"output": 1e-5, "gradients": 1e-4, "losses": 1e-4, "parameters": 1e-3},
}
PATTERNS = ("dip_skip_*.npz", "pip_skip*.npz", "lanczos.npz", "lanczos_conv.npz", "fourier.npz")
# One rounding error of a stored parameter: the jitter that gradients are judged by.
ROUNDING = 2.0**-23


def worst_of(findings: list[Finding], quantity: str) -> Finding | None:
    """The largest error of a quantity; a NaN is larger than all."""
    own = [finding for finding in findings if finding.quantity == quantity]
    return max(own, key=lambda f: np.inf if np.isnan(f.error) else f.error, default=None)


def explained(file: Arrays, engine: str, worst: Finding) -> tuple[bool, str]:
    """Whether rounding explains an error above its limit, and the numbers that say so.

    Losses and parameters come after steps, which an engine with the allowed output error may leave the
    path in: they are judged with a tenth of that error in every parameter. Gradients are not.
    """
    limits = LIMITS[engine]
    after_steps = worst.quantity in ("losses", "parameters")
    allowed = spread(file, limits["output"] / 10 if after_steps else ROUNDING)[worst.quantity]
    good, words = bool(worst.error <= 2 * allowed), f"float32 spread {allowed:.1e}"
    if worst.quantity == "parameters":
        single = step_by_step(file, get_engine(engine))
        good = good and bool(single.error <= limits["parameters"])
        words += f", step by step {single.error:.1e}"
    return good, words


def describe(
    findings: list[Finding], engine: str, file: Arrays, judge_rounding: bool = False
) -> tuple[str, bool]:
    """The worst error of each quantity as text, and whether all pass."""
    parts, all_good = [], bool(findings)
    for quantity, limit in LIMITS[engine].items():
        worst = worst_of(findings, quantity)
        if worst is None:
            continue
        good, notes = bool(worst.error <= limit), [worst.where] if worst.where else []
        if not good and "config" in file and quantity != "output":
            by_rounding, words = explained(file, engine, worst)
            notes.append(words)
            good = judge_rounding and by_rounding
        if not good:
            notes.append(f"ABOVE {limit:.0e}")
        remark = f" ({'; '.join(notes)})" if notes else ""
        parts.append(f"{quantity} {worst.error:.2e}{remark}")
        all_good = all_good and good
    return "  ".join(parts), all_good


def check_file(path: Path, engine: str, judge_rounding: bool = False) -> tuple[str, bool]:
    """One line's text and verdict; what cannot be computed is a failure with its reason."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            file = {key: archive[key] for key in archive.files}
        if path.name in CHECKS:
            findings = list(CHECKS[path.name](file, kernels_of(engine)))
        else:
            findings = list(compare(measure(file, get_engine(engine)), stored(file)))
        return describe(findings, engine, file, judge_rounding)
    except (DipedgeError, ImportError, AttributeError, KeyError, ValueError, OSError) as error:
        return f"cannot be checked: {type(error).__name__}: {error}", False


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--engine", choices=ENGINES, help="only this engine; both when left out")
    parser.add_argument(
        "--judge-rounding", action="store_true", help="pass what float32 rounding alone is measured to do"
    )
    options = parser.parse_args(arguments)
    paths = [path for pattern in PATTERNS for path in sorted(options.directory.glob(pattern))]
    if not paths:
        print(f"{options.directory}: no golden file in it ({', '.join(PATTERNS)})", file=sys.stderr)
        return 2
    all_good = True
    for path in paths:
        for engine in (options.engine,) if options.engine else ENGINES:
            text, good = check_file(path, engine, options.judge_rounding)
            print(f"{path.name:32} {engine:6}  {text}  {'ok' if good else 'FAILED'}", flush=True)
            all_good = all_good and good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main())
