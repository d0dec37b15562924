"""Given: a picture of a call, and the fits of it; read and checked before the first of them begins."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from dipedge import arrays, images, tensors
from dipedge.course import Course, commonest
from dipedge.engines.base import Program, Settings
from dipedge.errors import InputError
from dipedge.history import History
from dipedge.measure import Measure, figures
from dipedge.result import FitResult, FittedMember, StopReason
from dipedge.stopwatch import Clock, Stopwatch
from dipedge.tasks import BaseTask, Inpaint, Task
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
        task: what it is fitted for.
        picture: as ``arrays.read`` gives it, or ``tensors.read`` for a frame on a GPU.
        mask: bool [H, W], True = known, or None.
        z: the network's input [H, W, 3], where that is a picture of the user's, or None.
        grid: how it is cut into tiles, or None.
        reference: the true picture, as large as the answer, or None.
    """

    task: Task
    picture: arrays.Picture | tensors.TensorPicture
    mask: np.ndarray | None = None
    z: np.ndarray | None = None
    grid: Grid | None = None
    reference: arrays.Picture | None = None
    jobs: list[Job] = field(default_factory=list)
    clock: Clock | None = None  # since its first fit began
    seconds: float = 0.0  # until its last fit ended
    _held: np.ndarray | None = None
    _sum: np.ndarray | None = None  # of the estimates of the first ``_added`` jobs
    _added: int = 0

    @property
    def pixels(self) -> np.ndarray:
        """Those of the picture; converted anew by every call, unless they are held."""
        return self.picture.pixels if self._held is None else self._held

    def hold(self) -> np.ndarray:
        """``pixels``, converted once from now on: four bytes a value, which a frame of a stream may cost.

        They are nobody else's and can no longer be written, so whoever wants to may keep them.
        """
        pixels = self.pixels
        if np.may_share_memory(pixels, self.picture.values):  # the caller's: a camera may use it again
            pixels = pixels.copy()
        pixels.flags.writeable = False
        self._held = pixels
        return pixels

    @property
    def piece(self) -> tuple[int, int, int]:
        """Shape [H, W, C] of what one program fits: the picture, or a tile of it."""
        if self.grid is None:
            return self.task.target_shape(self.picture.shape)
        return (*self.grid.shape, self.picture.shape[2])

    @property
    def known(self) -> float:
        """Share of the pixels that the data term counts."""
        return 1.0 if self.mask is None else float(self.mask.mean())

    def measure(
        self,
        every: int | None,
        watch: Stopwatch,
        place: tuple[slice, slice] | None = None,
        answered: tuple[slice, slice] | None = None,
    ) -> Measure | None:
        """What compares a fit of it with the reference; None without one.

        Args:
            every, watch: as ``Measure`` takes them.
            place: rows and columns of a tile in the picture, or None for the whole.
            answered: that tile's place in the answer and the reference.
        """
        if self.reference is None:
            return None
        truth = self.reference.values
        return Measure(
            partial(self.shown, place=place), truth if answered is None else truth[answered], every, watch
        )

    def measured(self, estimate: np.ndarray) -> tuple[float | None, float | None]:
        """PSNR and SSIM of the answer made of several fits; None without a reference."""
        if self.reference is None:
            return None, None
        return figures(self.shown(estimate), self.reference.values)

    def shown(self, estimate: np.ndarray, place: tuple[slice, slice] | None = None) -> np.ndarray:
        """The answer's values [H, W, C] as they are handed out, without alpha; ``place``: see ``measure``."""
        if type(self.task).answer is not BaseTask.answer:
            pixels = self.pixels if place is None else self.picture.window(*place)
            estimate = self.task.answer(estimate, pixels).image
        if place is None:
            return self.picture.rounded(estimate, self._kept)
        return self.picture.rounded(estimate, None if self._kept is None else self._kept[place], place)

    @property
    def _kept(self) -> np.ndarray | None:
        """Where the picture's own values are the answer: bool [H, W], or None for nowhere."""
        return self.mask if isinstance(self.task, Inpaint) and self.task.keep else None

    def prepare(
        self, program: Program, place: tuple[slice, slice] | None = None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Hands target, mask and z to a program; the first two come back.

        Args:
            program: compiled for ``piece``.
            place: rows and columns of a tile, or None for the whole picture.
        """
        if self._stays_with(program) and place is None:  # a GPU's frame, and a program on that GPU
            target, mask, z = self.picture.on(program.tensor_device), self.mask, self.z
        elif place is None:
            target, mask, z = self.task.target(self.pixels), self.mask, self.z
        else:
            target = self.picture.window(*place)
            mask, z = (None if whole is None else whole[place] for whole in (self.mask, self.z))
        program.set_target(target, mask)
        if z is not None:
            program.set_input(z)
        return target, mask

    def estimate(self, course: Course, program: Program) -> Any:
        """The answer's values [H, W, C]: an array, or a tensor where the picture is one and may stay so."""
        return course.estimate(program, self._stays_with(program) and self.reference is None)

    def _stays_with(self, program: Program) -> bool:
        """Whether picture and program are tensors, and the task asks for nothing but these."""
        if not isinstance(self.picture, tensors.TensorPicture) or self.task.data_term.kind == "outer":
            return False
        plain = type(self.task).target is BaseTask.target and type(self.task).answer is BaseTask.answer
        return plain and getattr(program, "tensor_device", None) is not None

    def answer(self, estimate: np.ndarray) -> tuple[Any, dict[str, np.ndarray]]:
        """The answer in the kind of the picture, and its parts."""
        if type(self.task).answer is BaseTask.answer:  # needs no pixels, which of a large picture are many
            return self.picture.give_back(estimate, self._kept), {}
        answer = self.task.answer(estimate, self.pixels)
        return self.picture.give_back(answer.image), answer.parts

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
        (image, parts), (psnr, ssim) = self.answer(mean), self.measured(mean)
        whole = len(counted) == len(self.jobs) and counted[0].ended
        return FitResult(
            image=image,
            parts=parts,
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


def read_picture(image: Any, name: str) -> arrays.Picture | tensors.TensorPicture:
    """A picture that a user hands over; a file's name stands in messages for ``name``."""
    if isinstance(image, str | os.PathLike):
        image, name = images.open_image(image), str(image)
    return tensors.read(image, name)


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
    """A picture, its mask, z and reference, and how it is cut; all that can be wrong with them shows here.

    Raises:
        InputError: a picture, mask, flash picture or reference that cannot be used, no picture where one is
            needed or one where none is, or a tile that lies wholly in a hole of the mask.
    """
    picture = _begun_from(task, image, name)
    mask = z = grid = None
    if isinstance(task, Inpaint):
        mask, name = task.mask, "mask"
        if isinstance(mask, str | os.PathLike):
            mask, name = images.open_image(mask), str(mask)
        mask = arrays.read_mask(mask, picture.shape, name)
    if task.input_image is not None:
        z = _read_z(task, picture.shape)
    if task.pieces:
        scale, block = task.data_term.scale, task.block
        grid = chosen_grid(tiles, picture.shape, scale=scale, block=block, mask=mask)
    truth = None if reference is None else read_reference(reference, task.answer_shape(picture.shape))
    return Given(task, picture, mask, z, grid, truth)


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


def _begun_from(task: Task, image: Any, name: str) -> arrays.Picture:
    """The picture that a fit begins from, or a black one in 8 bits where the task begins from none."""
    if task.needs_picture:
        if image is None:
            raise InputError(f"no {name} was given; task {task.name!r} needs one")
        return read_picture(image, name)
    if image is not None:
        raise InputError(f"{name} was given; task {task.name!r} begins from none")
    from PIL import Image

    return arrays.read(Image.fromarray((255 * task.blank()).astype(np.uint8)), name)


def _read_z(task: Task, shape: tuple[int, int, int]) -> np.ndarray:
    """The picture that is the network's input, [H, W, 3]; a grey one in three equal channels."""
    found = read_picture(task.input_image, task.name)
    if found.shape[:2] != shape[:2]:
        size, needed = (" x ".join(map(str, sides[:2])) for sides in (found.shape, shape))
        raise InputError(f"{task.name} picture is {size}; it must be as large as the picture, {needed}")
    pixels = found.pixels
    if float(np.ptp(pixels, axis=(0, 1)).max()) == 0:  # statistics of constant layers are none
        raise InputError(f"{task.name} picture has one colour everywhere; there is nothing in it to go by")
    return np.ascontiguousarray(np.broadcast_to(pixels, (*shape[:2], 3)))
