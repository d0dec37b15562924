"""The arithmetic, one folder per kernel; installed as ``dipedge.kernels``.

A folder holds everything about one kernel: ``__init__.py`` is its contract (formula, shapes,
gradient, traffic, cases), ``reference.py`` its specification in plain PyTorch, ``cpu.*`` its C++,
``triton*.py`` its GPU kernels, ``operator.py`` its face as a torch operator.
Trust goes from the reference to the others, never back. Importing a contract loads neither PyTorch nor
the native module, so the engines and the benchmarks can read it anywhere. Calling one
(``dipedge.kernels.fourier_mlp(...)``, docs/operators.md) loads PyTorch and runs the operator.
"""

from dipedge.kernels import (
    adam,
    conv_norm_act,
    fourier_mlp,
    lanczos_conv,
    muon,
    perturb,
    pool,
    residual_loss,
    upsample_merge,
)

__all__ = [
    "adam",
    "conv_norm_act",
    "fourier_mlp",
    "lanczos_conv",
    "muon",
    "perturb",
    "pool",
    "residual_loss",
    "upsample_merge",
]
