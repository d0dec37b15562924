"""What is kept of an unfinished clip, so that a killed run loses one segment at most.

Beside OUTPUT stands a folder OUTPUT.progress with a description of the run, and for each finished segment its
frames and where the fit stood after it. A segment counts once its state is there under its name, which is
written last and renamed into place; so a kill at any moment leaves whole segments and nothing that looks
like one. Frames are kept as they are, since a half-written video cannot be gone on from; the folder therefore
grows as large as the unpacked answer, and is taken away when the clip is finished.
"""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from dipedge.clips.joining import Finished
from dipedge.clips.video_result import FittedSegment
from dipedge.engines.base import State
from dipedge.errors import FileError, InputError
from dipedge.history import History
from dipedge.images import written_beside
from dipedge.result import StopReason
from dipedge.scene_file import load_scene, save_scene

FORMAT = 1


class ProgressFolder:
    """The unfinished run of one output.

    Args:
        output: where the clip will be.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f"{output.name}.progress")

    def begin(self, description: dict[str, Any], resume: bool) -> int:
        """Makes the folder, or finds an earlier run's.

        Args:
            description: of source, task and settings, as JSON values; two runs with the same one make the
                same frames.
            resume: whether to go on from what is there; else it is thrown away.

        Returns:
            How many segments are finished.

        Raises:
            InputError: what is there was made with other settings.
            FileError: the folder cannot be made or read, or there is one with something else in it.
        """
        description = json.loads(json.dumps(description | {"format": FORMAT}))
        if resume and self._described.exists():
            self._check(description)
            return self._finished()
        try:
            if self.path.exists():
                if not self._described.exists() and any(self.path.iterdir()):
                    raise FileError(f"{self.path}: is in the way, and no unfinished clip; move it")
                shutil.rmtree(self.path)
            self.path.mkdir()
        except FileError:
            raise
        except OSError as error:
            raise FileError(f"{self.path}: cannot be made ({error.strerror or error})") from error
        with written_beside(self._described) as file:
            file.write(json.dumps(description, indent=1, sort_keys=True).encode())
        return 0

    def _check(self, description: dict[str, Any]) -> None:
        try:
            found = json.loads(self._described.read_text())
        except (OSError, ValueError) as error:
            raise FileError(f"{self._described}: damaged; run again without resuming") from error
        keys = found.keys() | description.keys() if isinstance(found, dict) else {"format"}
        other = sorted(key for key in keys if found.get(key, ...) != description.get(key, ...))
        if other:
            raise InputError(
                f"{self.path} was made with another {', '.join(other)}; resume with the same, or run again "
                "without resuming"
            )

    @property
    def _described(self) -> Path:
        return self.path / "run.json"

    def _state(self, number: int) -> Path:
        return self.path / f"state-{number:05}.safetensors"

    def _frames(self, number: int) -> Path:
        return self.path / f"frames-{number:05}.npz"

    def _finished(self) -> int:
        """The number after the last segment whose state is there."""
        numbers = [int(path.stem.split("-")[1]) for path in self.path.glob("state-*.safetensors")]
        return max(numbers) + 1 if numbers else 0

    def keep(
        self, number: int, finished: list[Finished], told: FittedSegment, state: State, about: dict[str, Any]
    ) -> None:
        """Keeps a finished segment.

        Args:
            number: of the segment.
            finished: the frames that came out of it.
            told: what became of its fit.
            state: arrays that the next segment begins from.
            about: the same in JSON values.

        Raises:
            FileError: the disk refused; the segments before are still there.
        """
        shown = [
            (
                one.time.numerator,
                one.time.denominator,
                one.duration.numerator,
                one.duration.denominator,
                one.own,
            )
            for one in finished
        ]
        plain = vars(told) | {"reason": told.reason.value, "history": None}
        with written_beside(self._frames(number)) as file:
            np.savez(
                file,
                pixels=np.stack([np.asarray(one.pixels) for one in finished]) if finished else np.empty(0),
                shown=np.array(shown, np.int64).reshape(-1, 5),
                loss=told.history.loss,
                told=np.frombuffer(json.dumps(plain).encode(), np.uint8),
            )
        save_scene(self._state(number), state, about)
        if number:
            self._state(number - 1).unlink(missing_ok=True)  # of several the last counts

    def load(self, number: int) -> tuple[State, dict[str, Any]]:
        """``state`` and ``about`` of segment ``number``, the last that was kept.

        Raises:
            FileError: damaged.
        """
        return load_scene(self._state(number))

    def segment(self, number: int) -> tuple[list[Finished], FittedSegment]:
        """Frames of segment ``number`` and what became of its fit.

        Raises:
            FileError: damaged.
        """
        try:
            with open(self._frames(number), "rb") as file, np.load(file, allow_pickle=False) as held:
                pixels, shown, loss = held["pixels"], held["shown"].tolist(), held["loss"]
                told = json.loads(held["told"].tobytes())
            told |= {"reason": StopReason(told["reason"]), "history": History(loss)}
            frames = [
                Finished(frame, Fraction(a, b), Fraction(c, d), bool(own))
                for frame, (a, b, c, d, own) in zip(pixels, shown, strict=True)
            ]
            return frames, FittedSegment(**told)
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise FileError(f"{self._frames(number)}: damaged; run again without resuming") from error

    def remove(self) -> None:
        """Takes the folder away: the clip is finished."""
        shutil.rmtree(self.path, ignore_errors=True)
