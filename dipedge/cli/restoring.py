"""Restores the pictures of one command, one after the other, and reports on each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dipedge import __version__, arrays, images
from dipedge.cli import report
from dipedge.cli.inputs import Job, check_not_an_input, make_folder, plan
from dipedge.cli.progress import Bar, Lines, progress
from dipedge.errors import DipedgeError, FileError, InputError
from dipedge.report_page import failure, largest_side, section, settings_of, write_page
from dipedge.result import FitResult
from dipedge.session import Session
from dipedge.tasks import Task
from dipedge.tiles import Tiles

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


@dataclass(frozen=True)
class Options:
    """What every restoring command can be told; see the command line's help for each."""

    output: str
    prior: str | None = None
    preset: str | None = None
    engine: str = "auto"
    quality: str = "balanced"
    steps: int | None = None
    seed: int = 0
    ensemble: int = 1
    threads: int | None = None
    average: float | None = None
    learning_rate: float | None = None
    precision: str = "auto"
    tiles: str = "auto"
    reference: str | None = None
    measure_every: int | None = None
    json: str | None = None
    history: bool = False
    report: str | None = None
    side_by_side: str | None = None
    parts: dict[str, str] = field(default_factory=dict)  # name of a part of the answer -> its file

    def session_arguments(self) -> dict[str, Any]:
        """What of it a ``Session`` takes."""
        outside = ("output", "reference", "json", "history", "report", "side_by_side", "parts")
        kept = {name: value for name, value in asdict(self).items() if name not in outside}
        return kept | {"tiles": tiles_of(self.tiles)}


def tiles_of(text: str) -> Tiles | str | None:
    """The argument ``tiles`` that ``--tiles TEXT`` means: auto, none, SIDE or SIDE,OVERLAP.

    Raises:
        InputError: anything else.
    """
    if text in ("auto", "none"):
        return None if text == "none" else text
    numbers = text.split(",")
    if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):
        raise InputError(f"tiles is {text!r}; it must be auto, none, SIDE or SIDE,OVERLAP (pixels)")
    return Tiles(*map(int, numbers))


def restore_files(
    task: Task, inputs: Sequence[str] | None, options: Options, read: Sequence[str] = ()
) -> int:
    """Restores every input; the exit code.

    Args:
        task: what degraded them.
        inputs: files, folders and globs; None where the task begins from no picture.
        options: everything else.
        read: files that the task itself reads.

    A batch goes on after a file that cannot be used; that file's line goes to standard error and the exit
    code becomes its error's. Ctrl-C writes the best result so far and ends the command.

    Raises:
        DipedgeError: what concerns all files, or the only one.
    """
    if inputs is None:
        jobs, several = [Job(None, Path(options.output))], False
    else:
        jobs, several = plan(inputs, options.output, options.reference)
    _check_outputs(jobs, several, options, read)
    batch = _Batch(task, options, len(jobs))
    codes: list[int] = []
    with progress() as shown, Session(task, progress=shown, **options.session_arguments()) as session:
        for job in jobs:
            try:
                codes.append(batch.restore(session, job, shown))
            except DipedgeError as error:
                if not several:
                    raise
                codes.append(error.exit_code)
                batch.failed(job, error)
            if codes[-1] == INTERRUPTED:
                break
    if options.json is not None:
        report.write_json(Path(options.json), batch.records if several else batch.records[0])
    if options.report is not None:
        write_page(options.report, batch.sections)
    if several:
        print(f"{sum(code == 0 for code in codes)} of {len(jobs)} pictures restored")
    return INTERRUPTED if INTERRUPTED in codes else max(codes)


def _check_outputs(jobs: list[Job], several: bool, options: Options, read: Sequence[str]) -> None:
    """Everything that would be written can be, and is nothing that is read: known before any fit."""
    inputs = [path for job in jobs for path in (job.source, job.reference) if path is not None]
    inputs += [Path(name) for name in read]
    pictures = {"side-by-side": options.side_by_side, **options.parts}
    pictures = {name: path for name, path in pictures.items() if path is not None}
    pages = [Path(name) for name in (options.json, options.report) if name is not None]
    outputs = [*pages, *map(Path, pictures.values())]
    if options.history and options.json is None:
        raise InputError("history goes into the JSON file, and there is none; add --json FILE")
    if several and pictures:
        raise InputError(f"{next(iter(pictures))} takes one picture; several were given")
    for target in [*(job.target for job in jobs), *outputs]:
        check_not_an_input(target, inputs)
    everything = [*(job.target for job in jobs), *outputs]
    for index, target in enumerate(everything):
        if target in everything[:index]:
            raise FileError(f"{target}: two outputs would be written there")
    for path in pages:
        images.check_place(path)
    for path in pictures.values():
        images.check_writable(path, "RGB")


class _Batch:
    """The records of a command's pictures, and their sections of the report, as they come."""

    def __init__(self, task: Task, options: Options, count: int) -> None:
        self.records: list[dict[str, Any]] = []
        self.sections: list[str] = []
        self._task, self._options, self._count = task, options, count
        told = ("sigma", "scale", "strength", "layer", "unit")
        described = {"task": task.name} | {name: getattr(task, name) for name in told if hasattr(task, name)}
        kept = ("preset", "quality", "seed", "ensemble", "precision")
        self._settings = described | {name: getattr(options, name) for name in kept}
        self._settings["dipedge_version"] = __version__

    def restore(self, session: Session, job: Job, shown: Bar | Lines) -> int:
        """One picture: read, fitted, written, reported; its exit code."""
        self._settings["prior"] = session.prior.name
        image = picture = None
        if job.source is not None:
            image = images.open_image(job.source)
            if "note" in image.info:
                print(f"dipedge: {job.source}: note: {image.info['note']}", file=sys.stderr)
            picture = arrays.read(image, str(job.source))
            make_folder(job, self._options.output)
        images.check_writable(job.target, "RGB" if picture is None else picture.one_pixel().mode)
        comparison = None
        if job.reference is not None:
            shape = self._task.answer_shape(picture.shape)
            comparison = report.Comparison(job.reference, shape)
        name = self._task.name if job.source is None else str(job.source)
        shown.begin(name if job.source is None else job.source.name)
        code = 0
        try:
            result = session.fit(image, None if comparison is None else comparison.image)
        except KeyboardInterrupt:
            code = INTERRUPTED
            result = session.result
            if result is None:
                print(f"dipedge: {name}: interrupted before the first step", file=sys.stderr)
                self._note_failure(name, "interrupted before the first step")
                return code
        images.save_image(result.image, job.target)
        for part, path in self._options.parts.items():
            images.save_image(report.as_picture(result.parts[part]), path)
        self._report(job, picture, result, comparison)
        if self._options.report is not None:
            truth = None if comparison is None else comparison.image
            settings, side = settings_of(session), largest_side(self._count)
            number = len(self.sections) + 1
            self.sections.append(section(name, result, image, truth, settings, side, number))
        if code:
            print(f"dipedge: {report.interruption(job.target, result)}", file=sys.stderr)
        return code

    def _report(
        self,
        job: Job,
        picture: arrays.Picture | None,
        result: FitResult,
        comparison: report.Comparison | None,
    ) -> None:
        answer = arrays.read(result.image, str(job.target))
        figures: dict[str, float | None] = {}
        # Converting costs memory, of large pictures a lot; many need none of it.
        if comparison is not None or self._options.side_by_side is not None:
            after = answer.pixels
            before = arrays.enlarged(picture.pixels, *after.shape[:2])
            figures = {} if comparison is None else comparison.figures(before, result)
        larger = picture is not None and answer.shape != picture.shape
        source = job.source or self._task.name
        print(report.summary(source, job.target, result, figures, larger), flush=True)
        settings, history = self._settings, self._options.history
        self.records.append(report.record(source, job.target, result, figures, settings, history))
        if self._options.side_by_side is not None:
            row = [before, after] + ([] if comparison is None else [comparison.pixels])
            images.save_image(report.side_by_side(row), self._options.side_by_side)

    def failed(self, job: Job, error: DipedgeError) -> None:
        """Reports a picture that could not be restored."""
        text = str(error)
        named = text if str(job.source) in text or str(job.target) in text else f"{job.source}: {text}"
        print(f"dipedge: {named}", file=sys.stderr)
        self._note_failure(str(job.source), text)

    def _note_failure(self, name: str, why: str) -> None:
        self.records.append({"input": name, "error": why})
        self.sections.append(failure(name, why))
