"""Session: fits pictures of one task, and goes on from frame to frame of a stream; restore: one picture."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

from dipedge import arguments, saved_session
from dipedge.engines import engine_for
from dipedge.engines.base import Settings, State
from dipedge.errors import InputError
from dipedge.given import read_each
from dipedge.kept_fit import KeptFit
from dipedge.presets import preset as chosen_preset
from dipedge.priors import Prior
from dipedge.result import FitResult, Step
from dipedge.stopping import Rule
from dipedge.stopwatch import Stopwatch
from dipedge.streaming.following import chosen_motion
from dipedge.streaming.stream import Stream
from dipedge.tasks import Task
from dipedge.tiles import Tiles
from dipedge.views import View

# A user's own rule that might never be fulfilled (a discrepancy below what the net can reach) is ended
# after this many times the preset's steps.
BOUND = 10


class Session(KeptFit):
    """One task on one engine, with the weights of its last fit.

    Args:
        task: what degraded the pictures, such as ``Denoise()``.
        prior: None or "pip", "dip", another name or a ``Prior``; see ``presets.preset``.
        engine: "auto", "native", "triton" or "torch"; see ``engines.get_engine``.
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
        ensemble: how many fits ``fit`` makes of a picture, 1 to 64, with seed, seed + 1, ...; the answer is
            the average of theirs. What differs between fits is mostly error: averaging two brought Deep Image
            Prior from 30.43 to 31.00 dB (its paper, denoising). A deadline is shared out.
        threads: worker threads, 1 or more; None takes every processor this process may use.
        progress: called with a ``Step`` at every look at a fit: after every step on a processor, every few
            steps on a GPU.
        tiles: how ``fit`` cuts a large picture. "auto" leaves answers of up to 1024 x 1024 pixels (or as many
            in another shape) in one piece and cuts larger ones into tiles of 512; None or False never cuts;
            ``Tiles(side, overlap)`` always does, if the picture is larger than one. Every tile is fitted to
            the stopping rule with the same seed; ``steps=N`` is N steps for each. Deadlines are shared out.
        preset: which of the published settings, where a task has several: "text", "large-hole",
            "large-hole-6", "large-hole-4", "large-hole-2" or "half" of inpainting; see ``presets.preset``.
        measure_every: steps between looks at ``fit``'s reference, 1 for every step; None for a hundredth of
            those a fit can take, 20 at most, which adds a twentieth to its time or less (``measure.py``).
        motion: how ``push`` follows a camera. "shift": the picture moves as a whole; "affine": it may be
            turned, scaled and sheared, too (steps then take longer: all pixels are seen, and their features
            kept in memory); None: it stands still, or the user tells ``push``. "auto" takes "shift" where the
            prior's input is a function of coordinates (Fourier features), and else None.
        memory: whether ``push`` of a ``Denoise`` also keeps a mean of the frames that saw each pixel, which
            is what is fitted, and what answers are completed from (``streaming/scene_memory.py``). False:
            every frame is fitted as it came, and the network's own output is the answer.

    Attributes:
        result: the last ``FitResult``, or a list of them for a list of pictures. After a KeyboardInterrupt
            inside ``fit`` or ``push`` the best until then (reason INTERRUPTED), or None if there was no step
            yet. Of an interrupted fit in tiles it has the tiles that are done, the best of those in hand, and
            the picture itself beyond; of a list it has None for pictures that were not begun.

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
        ensemble: int = 1,
        preset: str | None = None,
        measure_every: int | None = None,
        motion: str | None = "auto",
        memory: bool = True,
    ) -> None:
        arguments.check_task(task)
        if steps is None and stop is None:
            steps = getattr(task, "stop", None)
        chosen = chosen_preset(task, prior, quality, steps, preset)
        arguments.check_input(task, chosen.prior)
        self.task, self.prior = task, chosen.prior
        self._preset = chosen
        self._bound = BOUND * chosen.steps
        self._stop = arguments.rule(stop, steps, chosen.stop, self._bound)
        self._motion = chosen_motion(motion, chosen.prior)
        self._settings = Settings(
            optimiser=arguments.optimiser(chosen.optimiser, learning_rate, steps),
            average=chosen.average if average is None else arguments.average(average),
            seed=arguments.whole("seed", seed, 0, 2**63 - 1),
            precision=precision,
            subsample=chosen.subsample and self._motion != "affine",
            threads=arguments.whole_or_none("threads", threads, 1, 4096),
            warped=self._motion == "affine",
        )
        self._quality, self._tiles = quality, arguments.tiles(tiles)
        self._ensemble = arguments.whole("ensemble", ensemble, 1, 64)
        self._measure_every = arguments.whole_or_none("measure_every", measure_every, 1, 10**9)
        self._progress, self._remembers = progress, bool(memory)
        self._engine = engine_for(engine, self.prior, task)
        super().__init__()

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
        """Gives all memory back, and ends its stream. A closed session can no longer fit."""
        if self._fitter is not None:
            self._fitter.close()
        self._drop_program()
        self._closed = True

    # Fitting ----------------------------------------------------------------------------------------

    def fit(self, image: Any = None, reference: Any = None) -> Any:
        """Fits a picture from scratch, to the session's stopping rule; or several pictures.

        Args:
            image: H x W, or H x W x 1, 3 or 4; uint8, uint16 or float in [0, 1]; an array, a PIL image,
                a torch tensor or a path (see ``arrays.read``); None for tasks that begin from no picture
                (``Task.needs_picture``). Or a list or tuple of those, of any sizes:
                each gets the fit it would have had alone, and a deadline of its own; those of one size are
                fitted in lockstep where the engine can, and share its time then. All are read before the
                first fit begins.
            reference: the true picture, as large as the answer and with its channels, of any kind that
                ``image`` may be; for several pictures a list of as many, with None where there is none. The
                result then has ``psnr``, ``ssim`` and their ``history``; the fit takes the same steps with
                the same bits, and neither deadlines nor ``seconds`` count the time that comparing takes.

        Returns:
            A ``FitResult``, or a list of them in the pictures' order.

        Raises:
            InputError: a picture, mask or reference that cannot be used, or a tile that lies wholly in a hole
                of the mask; an earlier fit's weights are kept. For a list, the message says which picture.
            OutOfMemoryError: with the bytes needed; the session can go on with a smaller picture.
            FitDivergedError: the loss became NaN; the session can go on.
            KeyboardInterrupt: as usual; ``session.result`` then holds the best result so far. Of several
                pictures it does so after the two errors before this one, too.
        """
        clock = Stopwatch()
        self._check_free()
        if not isinstance(image, list | tuple):
            return self._fit(image, self._stop, clock, self._tiles, reference)
        pictures = read_each(self.task, image, self._tiles, reference)
        why = (
            "was of a list of pictures, each with weights of its own, and none are kept; fit a picture alone"
        )
        return self._fit_together(pictures, self._stop, clock, why, lambda results: results)

    def push(
        self, frame: Any, stop: Rule | None = None, steps: int | None = None, motion: View | None = None
    ) -> FitResult:
        """Takes the next frame of a stream: weights, optimiser and average go on from the last one.

        The first push of a session fits from scratch, and so does one with which another scene begins
        (``FitResult.scene_cut``). A stream has one set of weights, so frames are never cut into tiles, and
        after a ``fit`` in tiles there is nothing to go on from. More on streams: docs/streams.md.

        Args:
            frame: as ``fit``'s image, of the same size and channels as the frame before.
            stop: when to end, such as ``Deadline(ms=33)``; by default after 30 steps, and for a frame that is
                fitted from scratch as the session says. The clock runs from the call, and one step is always
                made.
            steps: exactly so many steps; excludes ``stop``.
            motion: where this frame's pixels lie in the frame before, if the user knows it (from a gyroscope,
                or ``View()`` for a camera on a tripod); it takes the place of the session's own estimate.

        Raises:
            InputError: a frame of another size (``fit`` takes it), one that cannot be used, a motion that the
                session cannot follow, the last ``fit`` was in tiles or of a list, the session makes
                ensembles, or has a stream; it stands where it was.
            OutOfMemoryError, FitDivergedError, KeyboardInterrupt: as ``fit``; after the first two the next
                push fits from scratch.
        """
        self._check_free()
        return self._pusher.push(frame, motion, stop=stop, steps=steps)

    def stream(
        self,
        frames: Any,
        *,
        drop: str = "block",
        depth: int = 2,
        stop: Rule | None = None,
        steps: int | None = None,
        errors: str = "raise",
    ) -> Stream:
        """``push`` for every frame of a source, by a thread that fits while the caller captures.

        Until the stream has ended or was closed the session does nothing else. See docs/streams.md.

        Args:
            frames: any iterable of frames, or of pairs (frame, its ``View`` as ``push``'s motion), read by a
                thread of its own; or an asynchronous iterable, read on the event loop of ``async for``. A
                frame must not be written to once it was handed over.
            drop: what happens to frames that come too fast. "block": the source has to wait; "oldest": the
                frame that has waited longest is left out, so that results are as new as can be.
            depth: frames that may wait, 1 to 1000.
            stop, steps: of every frame, as ``push`` takes them.
            errors: what becomes of a frame that ``push`` refuses. "raise": the error is raised where the
                result would stand, and the stream can be gone on with; "yield": a ``FailedFrame`` stands
                there. An error of the source itself is always raised, after the frames before it.

        Raises:
            InputError: an argument that cannot be used, or the session has a stream already.
        """
        self._check_free()
        arguments.rule(stop, steps, self._stop, self._bound)
        stream = Stream(
            frames,
            partial(self._pusher.push, stop=stop, steps=steps),
            depth=arguments.whole("depth", depth, 1, 1000),
            drops=arguments.word("drop", drop, ("block", "oldest")) == "oldest",
            keeps_errors=arguments.word("errors", errors, ("raise", "yield")) == "yield",
        )
        self._fitter = stream.fitter
        return stream

    def _check_free(self) -> None:
        """Raises InputError where the session is closed, or a stream has its program."""
        if self._closed:
            raise InputError("this session is closed; open a new one")
        if self._fitter is not None:
            if not self._fitter.exchange.is_over:
                raise InputError("this session has a stream; close that, or take all its results, first")
            self._fitter.wait()
            self._fitter = None

    # Keeping ----------------------------------------------------------------------------------------

    def state(self) -> State:
        """Copies of everything the next step depends on; see ``engines.base.Program.state``.

        Raises:
            InputError: nothing has been fitted yet, the last fit was in tiles, of a list or an ensemble, or
                the session has a stream.
        """
        self._check_free()
        self._check_kept("there is no state")
        if self._program is None:
            raise InputError("nothing has been fitted yet; there is no state")
        return self._program.state()

    def save(self, path: str | os.PathLike) -> None:
        """Writes the fit to a .safetensors or .npz file, from which ``load`` goes on bit for bit.

        Raises:
            InputError: nothing has been fitted yet, or the last fit was in tiles, of a list or an ensemble.
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


def restore(image: Any, task: Task, *, reference: Any = None, **options: Any) -> Any:
    """Restores a picture, or several: opens a session, fits, and closes it.

    Args:
        image: H x W, or H x W x 1, 3 or 4; uint8, uint16 or float in [0, 1]; an array, a PIL image, a
            torch tensor or a path.
        task: what degraded it, such as ``Denoise()`` or ``SuperResolve(scale=4)``.
        reference: the true picture, or a list of them, if the result shall tell how close it has come.
        options: prior, engine, quality, steps, stop, learning_rate, average, precision, seed, threads,
            progress, tiles, ensemble, preset, measure_every, as ``Session`` takes them.

    Returns:
        A ``FitResult``; its ``image`` is of the kind, dtype and layout that came in. For a list of pictures
        (see ``Session.fit``) a list of them.

    Raises:
        InputError, EngineError, OutOfMemoryError, FitDivergedError: see ``Session`` and ``Session.fit``.
    """
    with Session(task, **options) as session:
        return session.fit(image, reference)
