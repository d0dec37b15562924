"""Given: a picture of a call, and the fits of it; read and checked before the first of them begins."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dipedge import arrays, images
from dipedge.course import Course, commonest
from dipedge.engines.base import Settings
from dipedge.errors import InputError
from dipedge.history import History
from dipedge.measure import Measure, figures
from dipedge.result import FitResult, FittedMember, StopReason
from dipedge.stopwatch import Clock, Stopwatch
from dipedge.tasks import Inpaint, Task
from dipedge.tiles import Grid, Tiles, chosen_grid


@dataclass(eq=False)  # each is itself, however alike two are
class Job:
    """One fit: a picture with a seed.

    Attributes:
        given: the picture.
        settings: with this fit's seed.
        number: of this fit among all, from 1.
        name: what errors call it; empty where there is no other.
        course: its steps so far; a fit in tiles has them by tile instead.
        result: what it came to, once it has ended or was interrupted.
        estimate: the answer behind ``result``, until it has been added to an average.
    """

    given: Given
    settings: Settings
    number: int
    name: str
    course: Course = field(default_factory=Course)
    result: FitResult | None = None
    estimate: np.ndarray | None = None

    @property
    def ended(self) -> bool:
        """Whether it ended by itself."""
        return self.result is not None and self.result.reason is not StopReason.INTERRUPTED


@dataclass(eq=False)
class Given:
    """A picture of a call, checked, and its fits.

    Args:
        picture: as ``arrays.read`` gives it.
        mask: bool [H, W], True = known, or None.
        grid: how it is cut into tiles, or None.
        reference: the true picture, as large as the answer, or None.
    """

    picture: arrays.Picture
    mask: np.ndarray | None
    grid: Grid | None
    reference: arrays.Picture | None = None
    jobs: list[Job] = field(default_factory=list)
    clock: Clock | None = None  # since its first fit began
    seconds: float = 0.0  # until its last fit ended
    _sum: np.ndarray | None = None  # of the estimates of the first ``_added`` jobs
    _added: int = 0

    @property
    def piece(self) -> tuple[int, int, int]:
        """Shape [H, W, C] of what one program fits: the picture, or a tile of it."""
        return self.picture.shape if self.grid is None else (*self.grid.shape, self.picture.shape[2])

    @property
    def known(self) -> float:
        """Share of the pixels that the data term counts."""
        return 1.0 if self.mask is None else float(self.mask.mean())

    def measure(
        self, every: int | None, watch: Stopwatch, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Measure | None:
        """What compares a fit of it with the reference, or a tile's fit with its window; None without one."""
        if self.reference is None:
            return None
        return Measure(self.picture.rounded, self.reference.values[rows, columns], every, watch)

    def measured(self, answer: np.ndarray) -> tuple[float | None, float | None]:
        """PSNR and SSIM of an answer [H, W, C] put together from several fits; None without a reference."""
        if self.reference is None:
            return None, None
        return figures(self.picture.rounded(answer), self.reference.values)

    def settle(self) -> None:
        """Adds up the estimates of fits that ended, in the order of seeds, and lets go of them.

        In that order whichever ends first, so that the same seeds give the same bits.
        """
        while self._added < len(self.jobs) and self.jobs[self._added].ended:
            self._add(self.jobs[self._added])
            self._added += 1

    def _add(self, job: Job) -> None:
        if self._sum is None:
            self._sum = job.estimate  # nobody else has it
        else:
            self._sum += job.estimate
        job.estimate = None

    def result(self) -> FitResult | None:
        """The only fit's result, or what ``FitResult`` says of all members; None if none has been begun."""
        begun = [job for job in self.jobs if job.result is not None]
        if not begun or len(self.jobs) == 1:
            return begun[0].result if begun else None
        # The average of fits that ended says more than one with fits that had hardly begun.
        counted = [job for job in begun if job.ended] or begun
        for job in counted:
            if job.estimate is not None:
                self._add(job)
        results = [job.result for job in counted]
        mean = self._sum / len(counted)
        psnr, ssim = self.measured(mean)
        whole = len(counted) == len(self.jobs) and counted[0].ended
        return FitResult(
            image=self.picture.give_back(mean),
            reason=commonest(one.reason for one in results) if whole else StopReason.INTERRUPTED,
            steps=sum(one.steps for one in results),
            seconds=self.seconds,
            loss=statistics.fmean(one.loss for one in results),
            history=History.joined([one.history for one in results]),
            engine=results[0].engine,
            device=results[0].device,
            chosen_step=sum(one.chosen_step for one in results),
            psnr=psnr,
            ssim=ssim,
            members=tuple(_member(job) for job in counted),
        )


def _member(job: Job) -> FittedMember:
    seed, one = job.settings.seed, job.result
    return FittedMember(seed, one.steps, one.seconds, one.chosen_step, one.loss, one.reason, one.tiles)


def read_picture(image: Any, name: str) -> arrays.Picture:
    """A picture that a user hands over; a file's name stands in messages for ``name``."""
    if isinstance(image, str | os.PathLike):
        image, name = images.open_image(image), str(image)
    return arrays.read(image, name)


def read_reference(reference: Any, shape: tuple[int, int, int]) -> arrays.Picture:
    """The true picture, for an answer of ``shape``; its alpha is left aside.

    Raises:
        InputError: it cannot be used, or has another size or number of channels.
    """
    name = str(reference) if isinstance(reference, str | os.PathLike) else "reference"
    picture = read_picture(reference, name)
    if picture.shape != shape:
        wanted, found = (" x ".join(map(str, sides)) for sides in (shape, picture.shape))
        raise InputError(f"{name} is {found}; the restored picture to compare with it is {wanted}")
    return picture


def read_given(task: Task, image: Any, name: str, tiles: Tiles | str | None, reference: Any = None) -> Given:
    """A picture, its mask, reference and how it is cut; all that can be wrong with them is known then.

    Raises:
        InputError: a picture, mask or reference that cannot be used, or a tile that lies wholly in a hole of
            the mask.
    """
    picture, mask = read_picture(image, name), None
    if isinstance(task, Inpaint):
        mask, name = task.mask, "mask"
        if isinstance(mask, str | os.PathLike):
            mask, name = images.open_image(mask), str(mask)
        mask = arrays.read_mask(mask, picture.shape, name)
    scale, block = task.data_term.scale, task.block
    grid = chosen_grid(tiles, picture.shape, scale=scale, block=block, mask=mask)
    truth = None if reference is None else read_reference(reference, task.estimate_shape(picture.shape))
    return Given(picture, mask, grid, truth)


def read_each(task: Task, pictures: Sequence[Any], tiles: Tiles | str | None, references: Any) -> list[Given]:
    """Several pictures, each with its reference or None.

    Raises:
        InputError: as ``read_given``, saying which picture; there is none, or not as many references.
    """
    if not pictures:
        raise InputError("image is an empty list; it must hold one picture or more")
    if references is None:
        references = [None] * len(pictures)
    wanted = f"a list of {len(pictures)}, one for each image, None where there is none"
    if not isinstance(references, list | tuple):
        raise InputError(f"reference is a {type(references).__name__}; it must be {wanted}")
    if len(references) != len(pictures):
        raise InputError(f"reference is a list of {len(references)}; it must be {wanted}")
    found = []
    for number, (one, reference) in enumerate(zip(pictures, references, strict=True), 1):
        try:
            found.append(read_given(task, one, "image", tiles, reference))
        except InputError as error:
            raise type(error)(f"image {number} of {len(pictures)}: {error}") from error
    return found
