"""No network at all, as a description: the baseline that tells what a network adds."""

from __future__ import annotations

from dataclasses import dataclass

from dipedge.errors import InputError
from dipedge.networks.layers import Shapes


@dataclass(frozen=True)
class Pixels:
    """No network: the estimate's own pixels are fitted, from noise, by the same optimiser.

    With ``tv`` = 0 nothing but the data term decides, so what it does not see stays as it began (the paper's
    "no prior"). Otherwise ``tv * TV(x)`` is added to it (the paper's "TV prior")::

        TV(x) = mean over pixels and channels of sqrt((x[i+1,j] - x[i,j])^2 + (x[i,j+1] - x[i,j])^2)

    Pixels are not held to [0, 1] during the fit; what a session gives back is clipped.

    Args:
        tv: weight of the isotropic total variation. It belongs to a mean, as the data terms are means, and so
            does not depend on the picture's size; the published code has 1e-7 times the *sum*, which is
            1e-7 * C * H * W here: 0.02 for 256 x 256 in colour. docs/priors.md says which weight is best
            for which task.
        scale: the pixels begin as noise from U(0, scale), the paper's z; 0 begins with black.

    Raises:
        InputError: a negative or infinite value.

    Sources: DIP paper, figure "Prior effect in super-resolution", and the notebook of that figure; total
    variation: L. Rudin, S. Osher and E. Fatemi, 1992.
    """

    tv: float = 0.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        for name in ("tv", "scale"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or more")

    def parameter_shapes(
        self, in_channels: int, out_channels: int, size: tuple[int, int] | None = None
    ) -> Shapes:
        """{"pixels": (channels, H, W)}.

        Raises:
            InputError: no ``size``.
        """
        if size is None:
            raise InputError("how many pixels there are depends on the picture; a size (H, W) is needed")
        return {"pixels": (out_channels, *size)}
