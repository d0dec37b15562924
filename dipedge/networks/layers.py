"""What all networks are described with: ranges of values, and the shapes of layers."""

from __future__ import annotations

from dipedge.errors import InputError

KERNEL_SIZES = (1, 3, 5, 7)
PADDINGS = ("reflection", "zero")
MOST_CHANNELS = 4096

Shapes = dict[str, tuple[int, ...]]  # of learned tensors, by name


def one_of(name: str, value: object, allowed: tuple) -> None:
    """Raises InputError, which names the choices, where ``value`` is none of them."""
    if value not in allowed:
        choices = ", ".join(map(str, allowed))
        raise InputError(f"{name} is {value!r}; it must be one of {choices}")


def check_layers(slope: float, bn_eps: float) -> None:
    """Raises InputError for a LeakyReLU or a BN that is none."""
    if not 0 <= slope <= 1:
        raise InputError(f"slope is {slope}; LeakyReLU's must be in [0, 1]")
    if not bn_eps > 0:
        raise InputError(f"bn_eps is {bn_eps}; it must be above 0")


def conv(shapes: Shapes, name: str, out: int, into: int, kernel: int, bias: bool = True) -> None:
    """A convolution's parameters; weights [out, into, k, k]."""
    shapes[f"{name}.weight"] = (out, into, kernel, kernel)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def norm(shapes: Shapes, name: str, channels: int) -> None:
    """A batch norm's scale and shift."""
    shapes[f"{name}.weight"] = (channels,)
    shapes[f"{name}.bias"] = (channels,)
