"""Pushing: one frame of a stream, from the picture that came to its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dipedge import arguments
from dipedge.engines.base import State
from dipedge.errors import InputError
from dipedge.given import Given, read_picture
from dipedge.measure import Measure
from dipedge.presets import FRAME_STEPS
from dipedge.result import FitResult
from dipedge.stopping import MaxSteps, Rule
from dipedge.stopwatch import Stopwatch
from dipedge.streaming.averaging import StreamCourse, YoungAverage, moved
from dipedge.streaming.following import Move, has_coordinates
from dipedge.streaming.pace import Pace, Paced
from dipedge.streaming.scene_memory import SceneMemory
from dipedge.tasks import Denoise
from dipedge.tensors import on_host
from dipedge.views import View

if TYPE_CHECKING:
    from dipedge.session import Session

# Of a saved stream, beside what its program has.
STREAM_KEYS = ("stream/frame", "stream/mean", "stream/counts", "stream/memory", "stream/places")


class Pusher:
    """What a session keeps between the frames of a stream, beside the program.

    Args:
        session: whose frames they are.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._pace = session, Pace()
        self._young: YoungAverage | None = None
        # Noise alone is fresh in every frame; what else degrades pictures averages to itself.
        self._memory = SceneMemory() if isinstance(session.task, Denoise) and session._remembers else None

    def begin(self, whole: bool, new_program: bool = True) -> None:
        """A fit begins on new weights; ``whole`` if it runs to the session's own rule."""
        if new_program:
            self._pace.forget()
        if self._memory is not None:
            self._memory.forget()
        # A whole fit is the one that ``Session.fit`` makes, to the bit.
        self._young = None if whole else YoungAverage(self._session._settings.average)

    def course(self, whole: bool, measure: Measure | None = None, cut: bool = False) -> StreamCourse:
        """What a fit is noted in, that frames may follow; ``whole``: see ``begin``."""
        view, memory = self._session._following.view, None if whole else self._memory
        return StreamCourse(measure, young=self._young, view=view, cut=cut, memory=memory)

    def remember(self, target: np.ndarray) -> np.ndarray:
        """Takes the frame in hand into the scene's memory, and has its mean fitted instead."""
        if self._memory is None:
            return target
        session = self._session
        target = self._memory.take(on_host(target), session._noise(target))
        session._program.set_target(target)
        return target

    def push(
        self,
        frame: Any,
        motion: View | None,
        unwanted: Callable[[], bool] = lambda: False,
        *,
        stop: Rule | None,
        steps: int | None,
    ) -> FitResult:
        """See ``Session.push``; ``unwanted``: see ``Paced``."""
        clock, session = Stopwatch(), self._session
        self._check(motion)
        usual = stop is None and steps is None
        rule = arguments.rule(stop, steps, session._stop, session._bound)
        if session._program is None:
            result = session._fit(frame, Paced(rule, self._pace, clock, unwanted), clock, None, whole=usual)
        else:
            given = Given(session.task, read_picture(frame, "frame"), session._mask)
            self._check_size(given)
            seen = given.hold() if session._following.is_on else None
            move = session._following.next(seen, motion, session._program)
            if move.cut:
                self.begin(usual, new_program=False)
            elif usual:
                rule = MaxSteps(FRAME_STEPS)
            if self._memory is not None and not (move.cut or move.is_none):
                # The network is fitted where the mean lies, which moves by whole pixels alone.
                move = replace(move, motion=self._memory.follow(session._following.view))
                session._program.set_views([self._memory.grid])
            self._move_average(move)
            paced = Paced(rule, self._pace, clock, unwanted)
            course = self.course(move.cut and usual, cut=move.cut)
            result = session._run(given, paced, clock, course, with_state=False)
        self._pace.note_end(clock())
        return result

    def state(self) -> State:
        """What the next frame depends on beside the program's state."""
        following, young, state = self._session._following, self._young, {}
        if following.frame is not None:
            state["stream/frame"] = following.frame
        if young is not None and not young.grown_up:
            state |= young.state()
        return state if self._memory is None else state | self._memory.state()

    def load_state(self, state: State, views: np.ndarray | None) -> None:
        """Goes on where ``state`` was called.

        Args:
            state: what it gave.
            views: the program's "views", if it has any.

        Raises:
            InputError: arrays of another shape than the session's frames have.
        """
        session = self._session
        view = View() if views is None else View.of_numbers(views[0])
        if self._memory is not None and self._memory.load_state(state, session._program.shape):
            view = self._memory.view
        frame = state.get("stream/frame")
        if frame is not None:
            if frame.ndim != 3 or session.task.estimate_shape(frame.shape) != session._program.shape:
                raise InputError(f"stream/frame is an array of {frame.shape}")
            session._following.take(frame.astype(np.float32), view)
        if "stream/mean" in state:
            self._young = YoungAverage(session._settings.average)
            self._young.load_state(state, session._program.shape)

    def _check(self, motion: Any) -> None:
        """Raises InputError where no frame at all could be taken."""
        session = self._session
        if session._ensemble > 1:
            wanted = "a stream has one set of weights; open the session with ensemble=1 for it"
            raise InputError(f"ensemble is {session._ensemble}; {wanted}")
        session._check_kept("push has nothing to go on from")
        if motion is None:
            return
        if not isinstance(motion, View):
            raise InputError(
                f"motion is {motion!r}; it must be a View of this frame's pixels in the last one"
            )
        if not has_coordinates(session.prior):
            raise InputError("motion was given; this prior's input is no function of coordinates, take pip()")
        if not motion.is_shift and session._motion != "affine":
            raise InputError(
                f"motion is {motion.matrix}, more than a shift; open the session with motion='affine'"
            )

    def _check_size(self, given: Given) -> None:
        shape, before = self._session.task.estimate_shape(given.piece), self._session._program.shape
        if shape != before:
            now, then = (" x ".join(map(str, sides)) for sides in (shape, before))
            raise InputError(f"frame gives an answer of {now}, the last was {then}; use fit for a new size")

    def _move_average(self, move: Move) -> None:
        """The past's share in the answer follows the camera."""
        if move.cut or move.is_none:
            return
        if self._young is not None and not self._young.grown_up:
            self._young.move(move.motion)
        else:
            program = self._session._program
            program.load_state({"average": moved(program.estimate(), move.motion)})
