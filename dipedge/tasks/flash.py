"""Flash / no-flash: a noisy picture taken without a flash, restored with the help of one taken with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from dipedge.tasks.base import BaseTask


@dataclass(frozen=True, eq=False)
class FlashNoFlash(BaseTask):
    """Denoise a picture whose scene was also taken with a flash.

    The light of the picture without a flash is kept, its noise is not: the network's input z is the flash
    picture, so that edges and texture come from there and only colour and light are fitted (Deep Image
    Prior, section "Flash-no flash reconstruction").

    Args:
        flash: the picture with a flash, of the same size and registered with the other (array, PIL image or
            path); grey or colour.
    """

    flash: Any
    name: ClassVar[str] = "flash"

    @property
    def input_image(self) -> Any:
        return self.flash
