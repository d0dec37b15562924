"""Session: fits pictures of one task, and goes on from frame to frame of a stream; restore: one picture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from dipedge import arguments, arrays, images, saved_session
from dipedge.course import Course
from dipedge.engines import get_engine
from dipedge.engines.base import Program, Settings, State
from dipedge.errors import EngineError, InputError, OutOfMemoryError
from dipedge.fit import FitDivergedError, fit_steps
from dipedge.noise import noise_of
from dipedge.presets import FRAME_STEPS, preset
from dipedge.priors import GivenImage, Prior
from dipedge.result import FitResult, Step, StopReason
from dipedge.stopping import MaxSteps, Rule
from dipedge.tasks import Inpaint, Task
from dipedge.tiled_fit import TiledFit
from dipedge.tiles import Tiles, chosen_grid

# A user's own rule that might never be fulfilled (a discrepancy below what the net can reach) is ended
# after this many times the preset's steps.
BOUND = 10


class Session:
    """One task on one engine, with the weights of its last fit.

    Args:
        task: what degraded the pictures, such as ``Denoise()``.
        prior: None or "pip", "dip", another name or a ``Prior``; see ``presets.preset``.
        engine: "auto", "native" or "torch".
        quality: "paper", "balanced" or "fast"; see ``presets.preset``.
        steps: exactly so many steps a fit; excludes ``stop``. "balanced" then takes the published
            optimiser, and the falling rate of "fast" is stretched over them (``presets.preset``).
        stop: a stopping rule for ``fit``; None takes the preset's. A rule that may never end gets ten
            times the preset's steps as a limit.
        learning_rate: of the optimiser, above 0; None takes the preset's.
        average: weight of the past in the running average of outputs, in [0, 1), 0.0 for the raw
            output; None takes the preset's.
        precision: "auto", "fp32", "bf16" or what else the engine has.
        seed: of weights, input and perturbation, 0 to 2^63 - 1; one seed gives the same bits again.
        threads: worker threads, 1 or more; None takes every processor this process may use.
        progress: called with a ``Step`` after every step of a fit.
        tiles: how ``fit`` cuts a large picture. "auto" leaves answers of up to 1024 x 1024 pixels (or as many
            in another shape) in one piece and cuts larger ones into tiles of 512; None or False never cuts;
            ``Tiles(side, overlap)`` always does, if the picture is larger than one. Every tile is fitted to
            the stopping rule with the same seed; ``steps=N`` is N steps for each. Deadlines are shared out.

    Attributes:
        result: the last ``FitResult``; after a KeyboardInterrupt inside ``fit`` or ``push`` the best one
            until then (reason INTERRUPTED), or None if there was no step yet. Of an interrupted fit in
            tiles it has the tiles that are done, the best of the current one, and the picture itself beyond.

    Raises:
        InputError: an argument that cannot be used, or contradicting ones.
        EngineError: the engine cannot run here, or not this prior and task.
    """

    def __init__(
        self,
        task: Task,
        *,
        prior: Prior | str | None = None,
        engine: str = "auto",
        quality: str = "balanced",
        steps: int | None = None,
        stop: Rule | None = None,
        learning_rate: float | None = None,
        average: float | None = None,
        precision: str = "auto",
        seed: int = 0,
        threads: int | None = None,
        progress: Callable[[Step], object] | None = None,
        tiles: Tiles | str | bool | None = "auto",
    ) -> None:
        arguments.check_task(task)
        chosen = preset(task, prior, quality, steps)
        if isinstance(chosen.prior.encoding, GivenImage):
            raise InputError(f"prior has a given image as its input; task {task.name!r} has none to give")
        self.task = task
        self.prior = chosen.prior
        self.result: FitResult | None = None
        self._preset = chosen
        self._stop = arguments.rule(stop, steps, chosen.stop, BOUND * chosen.steps)
        self._settings = Settings(
            optimiser=arguments.optimiser(chosen.optimiser, learning_rate, steps),
            average=chosen.average if average is None else arguments.average(average),
            seed=arguments.whole("seed", seed, 0, 2**63 - 1),
            precision=precision,
            subsample=chosen.subsample,
            threads=None if threads is None else arguments.whole("threads", threads, 1, 4096),
        )
        self._quality = quality
        self._tiles = arguments.tiles(tiles)
        self._progress = progress
        self._engine = get_engine(engine)
        reason = self._engine.supports(self.prior, task)
        if reason is not None:
            raise EngineError(reason)
        self._program: Program | None = None
        self._mask: np.ndarray | None = None
        self._was_in_tiles = False  # whether the last fit was, and so left no weights to go on from
        self._closed = False

    @property
    def engine(self) -> str:
        """The name of the engine that "auto" or the argument came to."""
        return self._engine.name

    def device(self) -> dict[str, str]:
        """What runs the fits; keys "device", "isa", "version" as far as they apply."""
        return self._engine.device()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives all memory back. A closed session can no longer fit."""
        self._drop_program()
        self._closed = True

    # Fitting ----------------------------------------------------------------------------------------

    def fit(self, image: Any) -> FitResult:
        """Fits a picture from scratch, to the session's stopping rule.

        Args:
            image: H x W, or H x W x 1, 3 or 4; uint8, uint16 or float in [0, 1]; an array, a PIL image,
                a torch tensor or a path (see ``arrays.read``).

        Raises:
            InputError: a picture or mask that cannot be used, or a tile that lies wholly in a hole of the
                mask; an earlier fit's weights are kept.
            OutOfMemoryError: with the bytes needed; the session can go on with a smaller picture.
            FitDivergedError: the loss became NaN; the session can go on.
            KeyboardInterrupt: as usual; ``session.result`` then holds the best result so far.
        """
        return self._fit(image, self._stop, _stopwatch(), self._tiles)

    def push(self, frame: Any, stop: Rule | None = None, steps: int | None = None) -> FitResult:
        """Takes the next frame of a stream: weights, optimiser and average go on from the last one.

        The first push of a session fits from scratch. A stream has one set of weights, so frames are never
        cut into tiles, and after a ``fit`` in tiles there is nothing to go on from. The average of outputs
        reaches over frames: open the session with ``average=0.9`` or less for a scene that moves.

        Args:
            frame: as ``fit``'s image, of the same size and channels as the frame before.
            stop: when to end, such as ``Deadline(ms=33)``; by default after 30 steps, and for the first
                push as the session says. The clock runs from the call; one step is always made.
            steps: exactly so many steps; excludes ``stop``.

        Raises:
            InputError: a frame of another size (``fit`` takes it), one that cannot be used, or the last
                ``fit`` was in tiles; the session stands where it was.
            OutOfMemoryError, FitDivergedError, KeyboardInterrupt: as ``fit``; after the first two the next
                push fits from scratch.
        """
        clock = _stopwatch()
        self._check_not_in_tiles("push has nothing to go on from")
        first = self._program is None
        usual = self._stop if first else MaxSteps(FRAME_STEPS)
        rule = arguments.rule(stop, steps, usual, BOUND * self._preset.steps)
        if first:
            return self._fit(frame, rule, clock, tiles=None)
        picture = self._read(frame, "frame")
        shape = self.task.estimate_shape(picture.shape)
        if shape != self._program.shape:
            now, before = _size(shape), _size(self._program.shape)
            raise InputError(f"frame gives an answer of {now}, the last was {before}; use fit for a new size")
        self._program.set_target(picture.pixels, self._mask)
        return self._run(picture, rule, clock, with_state=False)

    def _fit(
        self, image: Any, stop: Rule, clock: Callable[[], float], tiles: Tiles | str | None
    ) -> FitResult:
        picture = self._read(image, "image")
        mask = self._read_mask(picture)
        scale, block = self.task.data_term.scale, self.task.block
        grid = chosen_grid(tiles, picture.shape, scale=scale, block=block, mask=mask)
        self._drop_program()  # before the next one: two at a time need not fit into memory
        self._was_in_tiles = False
        piece = picture.shape if grid is None else (*grid.shape, picture.shape[2])
        try:
            shape = self.task.estimate_shape(piece)
            self._program = self._engine.compile(self.prior, self.task, shape, self._settings)
        except OutOfMemoryError as error:
            raise OutOfMemoryError(f"{error}; smaller tiles need less", error.needed) from error
        if grid is not None:
            return self._run_tiles(TiledFit(picture, mask, grid, scale), stop, clock)
        self._mask = mask
        self._program.set_target(picture.pixels, mask)
        return self._run(picture, stop, clock, with_state=True)

    def _run_tiles(self, fit: TiledFit, stop: Rule, clock: Callable[[], float]) -> FitResult:
        """As ``_run``, tile by tile; the program is given back, for its weights are those of one tile."""
        self.result = None
        try:
            fit.run(self._program, stop, clock, self._preset.backtrack, self._progress, self._noise)
        except KeyboardInterrupt:
            if fit.tiles:
                fit.fill()
                self.result = fit.result(clock(), self.engine, self.device())
            raise
        finally:
            self._drop_program()
            self._was_in_tiles = len(fit.tiles) > 0
        self.result = fit.result(clock(), self.engine, self.device())
        return self.result

    def _run(
        self, picture: arrays.Picture, stop: Rule, clock: Callable[[], float], with_state: bool
    ) -> FitResult:
        """Consumes the loop; ``self.result`` is the answer, or the best so far when interrupted."""
        self.result = None
        course = Course()
        known = 1.0 if self._mask is None else float(self._mask.mean())
        try:
            for step in fit_steps(
                self._program,
                stop,
                clock=clock,
                backtrack=self._preset.backtrack,
                known=known,
                noise=lambda: self._noise(picture.pixels),
            ):
                course.take(step)
                if self._progress is not None:
                    self._progress(step)
        except KeyboardInterrupt:
            if course.last is not None:
                course.last = replace(course.last, reason=StopReason.INTERRUPTED)
                self.result = self._result(picture, course, clock(), with_state)
            raise
        except (FitDivergedError, OutOfMemoryError):
            self._drop_program()
            raise
        self.result = self._result(picture, course, clock(), with_state)
        return self.result

    def _result(self, picture: arrays.Picture, course: Course, seconds: float, with_state: bool) -> FitResult:
        last = course.last
        return FitResult(
            image=picture.give_back(course.estimate(self._program)),
            reason=last.reason,
            steps=last.index,
            seconds=seconds,
            loss=last.loss,
            history=np.array(course.history),
            engine=self.engine,
            device=self.device(),
            chosen_step=course.chosen_step,
            state=self._program.state() if with_state else None,
        )

    def _noise(self, target: np.ndarray) -> float | None:
        return noise_of(self.task, target)

    def _read(self, image: Any, name: str) -> arrays.Picture:
        if self._closed:
            raise InputError("this session is closed; open a new one")
        if isinstance(image, str | os.PathLike):
            image, name = images.open_image(image), str(image)
        return arrays.read(image, name)

    def _read_mask(self, picture: arrays.Picture) -> np.ndarray | None:
        if not isinstance(self.task, Inpaint):
            return None
        mask, name = self.task.mask, "mask"
        if isinstance(mask, str | os.PathLike):
            mask, name = images.open_image(mask), str(mask)
        return arrays.read_mask(mask, picture.shape, name)

    def _drop_program(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None

    def _check_not_in_tiles(self, what: str) -> None:
        if self._was_in_tiles:
            raise InputError(
                f"{what}: the last fit was in tiles, each with weights of its own, and none are kept; "
                "open the session with tiles=None to fit such pictures in one piece"
            )

    # Keeping ----------------------------------------------------------------------------------------

    def state(self) -> State:
        """Copies of everything the next step depends on; see ``engines.base.Program.state``.

        Raises:
            InputError: nothing has been fitted yet, or the last fit was in tiles.
        """
        self._check_not_in_tiles("there is no state")
        if self._program is None:
            raise InputError("nothing has been fitted yet; there is no state")
        return self._program.state()

    def save(self, path: str | os.PathLike) -> None:
        """Writes the fit to a .safetensors or .npz file, from which ``load`` goes on bit for bit.

        Raises:
            InputError: nothing has been fitted yet, or the last fit was in tiles.
            FileError: another extension, or the disk refused.
        """
        saved_session.save(self, path)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        engine: str | None = None,
        threads: int | None = None,
        progress: Callable[[Step], object] | None = None,
    ) -> Session:
        """A session that goes on where ``save`` was called: the next ``push`` continues its fit.

        Args:
            path: of a file that ``save`` wrote.
            engine: None for the one that wrote the file. Another engine goes on from the same weights,
                moments and average, but draws its own random numbers.
            threads, progress: as for a new session.

        Raises:
            FileError: a missing or damaged file, or one that is not a scene.
            EngineError, OutOfMemoryError: as a new session and its fit.
        """
        return saved_session.load(cls, path, engine, threads, progress)


def restore(image: Any, task: Task, **options: Any) -> FitResult:
    """Restores one picture: opens a session, fits, and closes it.

    Args:
        image: H x W, or H x W x 1, 3 or 4; uint8, uint16 or float in [0, 1]; an array, a PIL image, a
            torch tensor or a path.
        task: what degraded it, such as ``Denoise()`` or ``SuperResolve(scale=4)``.
        options: prior, engine, quality, steps, stop, learning_rate, average, precision, seed, threads,
            progress, tiles, as ``Session`` takes them.

    Returns:
        A ``FitResult``; its ``image`` is of the kind, dtype and layout that came in.

    Raises:
        InputError, EngineError, OutOfMemoryError, FitDivergedError: see ``Session`` and ``Session.fit``.
    """
    with Session(task, **options) as session:
        return session.fit(image)


def _stopwatch() -> Callable[[], float]:
    """Seconds since this call, from a clock that only goes forward."""
    began = time.perf_counter()
    return lambda: time.perf_counter() - began


def _size(shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape))
