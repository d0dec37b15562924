"""The loss of ``MatchText``: how far the encoder finds pieces of the picture from the texts.

The distance is the published one, half the square of the angle between the two codes: on the sphere that
both lie on it grows evenly, where the cosine is flat at both ends.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from dipedge.errors import InputError
from dipedge.objectives.cutouts import cut, drawing, vary
from dipedge.objectives.torch_objective import TorchObjective
from dipedge.tasks.text import MARGIN, MatchText, colour_matrix

# Half the chord between two codes, at most: at 1 (opposite codes) the arcsine has no finite slope.
LONGEST = 1 - 1e-6


def spherical_distance(codes: Tensor, others: Tensor) -> Tensor:
    """Half the squared angle of unit vectors [..., D] and [..., D] -> [...]; pi^2/2 for opposite ones."""
    half_chord = (codes - others).norm(dim=-1) / 2
    return 2 * half_chord.clamp(max=LONGEST).arcsin() ** 2


class TextObjective(TorchObjective):
    """The weighted distance between cut-outs and texts, averaged over both.

    A text that is not wanted counts negatively. The sum of the weights, taken as positive, is brought to 1:
    with one text the loss is the published one, and more of them do not change its size.

    Raises:
        InputError: encoders whose codes do not belong together.
    """

    def __init__(self, task: MatchText, seed: int) -> None:
        super().__init__(task, seed)
        texts, weights = zip(*task.prompts, strict=True)
        with torch.no_grad():
            codes = [torch.as_tensor(task.encoders.text(text)).detach() for text in texts]
        for text, code in zip(texts, codes, strict=True):
            if code.ndim != 2 or code.shape[0] != 1 or code.shape != codes[0].shape:
                raise InputError(
                    f"encoders.text gave {tuple(code.shape)} for {text!r:.60}; it must give [1, D]"
                )
        total = sum(abs(weight) for weight in weights)
        self._texts = torch.cat([code.double().cpu() for code in codes])
        self._texts = F.normalize(self._texts, dim=-1)
        self._weights = torch.tensor([weight / total for weight in weights], dtype=torch.float64)
        self._colours = torch.from_numpy(colour_matrix())
        self._mean, self._std = (
            torch.tensor(values, dtype=torch.float64)[None, :, None, None]
            for values in (task.encoders.mean, task.encoders.std)
        )
        self.to(self.device, self.dtype)

    def to(self, device: torch.device, dtype: torch.dtype) -> None:
        """Moves the texts' codes and the constants."""
        super().to(device, dtype)
        for name in ("_texts", "_weights", "_colours", "_mean", "_std"):
            setattr(self, name, getattr(self, name).to(device, dtype))

    def picture(self, output: Tensor) -> Tensor:
        """The picture in red, green and blue: the output [1, 3, H, W] as ``MatchText.answer`` shows it."""
        if not self.task.decorrelated:
            return output
        inside = output.clamp(MARGIN, 1 - MARGIN)
        return torch.einsum("ij,njhw->nihw", self._colours, torch.logit(inside)).sigmoid()

    def pieces(self, output: Tensor, step: int) -> Tensor:
        """What the encoder sees of an output in one step, [cutouts, 3, size, size] in [0, 1]."""
        random = drawing(self.seed, step)
        found = cut(self.picture(output), self.task.cutouts, self.task.encoders.size, random)
        return vary(found, random) if self.task.augment else found

    def loss(self, output: Tensor, step: int) -> Tensor:
        pieces = (self.pieces(output, step) - self._mean) / self._std
        codes = self.task.encoders.image(pieces)
        wanted = (pieces.shape[0], self._texts.shape[1])
        if tuple(codes.shape) != wanted:
            raise InputError(
                f"encoders.image gave {tuple(codes.shape)}; for these texts it must give {wanted}"
            )
        codes = F.normalize(codes.to(output.dtype), dim=-1)
        distances = spherical_distance(codes[:, None], self._texts[None])
        return (distances @ self._weights).mean()
