"""The arithmetic, one folder per kernel; installed as ``dipedge.kernels``.

A folder holds everything about one kernel: ``__init__.py`` is its contract (formula, shapes,
gradient, traffic, cases), ``reference.py`` its specification in plain PyTorch, ``cpu.*`` its C++.
Trust goes from the reference to the others, never back. Importing a contract loads neither PyTorch nor
the native module, so the engines and the benchmarks can read it anywhere.
"""

NAMES = (
    "fourier_mlp",
    "conv_norm_act",
    "upsample_merge",
    "pool",
    "lanczos_conv",
    "residual_loss",
    "adam",
    "perturb",
)
