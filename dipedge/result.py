"""What a fit reports while it runs and what it hands back when it has ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from dipedge.history import History
from dipedge.views import View

FIRST_VIEW = View()  # that of a picture by itself, too


class StopReason(Enum):
    """Why a fit ended; every member carries the sentence a user reads (``reason.sentence``)."""

    STEPS = "steps", "all steps that were asked for are done"
    DEADLINE = "deadline", "the time allowed has passed"
    VARIANCE = "variance", "the variance of the outputs has passed its minimum: the noise is coming in"
    DISCREPANCY = "discrepancy", "the residual has fallen to the noise"
    INTERRUPTED = "interrupted", "it was interrupted; this is the best result so far"

    def __new__(cls, word: str, sentence: str) -> StopReason:
        member = object.__new__(cls)
        member._value_ = word
        member.sentence = sentence
        return member

    sentence: str

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Step:
    """One observation of the loop, after ``index`` optimiser steps.

    There is one after every step, or every few where looking makes a device wait (``Program.look_every``).

    Args:
        index: optimiser steps done in this fit, counted from 1.
        loss: the data term of the last step's output, before that step's update.
        seconds: since the fit began.
        limit: the most steps this fit can take, None where only time or the picture decides.
        kept: the estimate [H, W, C] if a stopping rule marked this step as the best so far.
        restored: whether the loss had jumped, so that earlier weights were taken back.
        reason: why the fit ends with this step; None while it goes on.
        tile, tiles: which tile of how many this step was of, from 1. ``index``, ``seconds`` and ``limit`` are
            those of the whole picture (the limit comes down with every tile that ends by itself). Tiles that
            are fitted in lockstep show one step for all, under the first one's number.
        earlier: optimiser steps of the tiles before this one.
        losses: that of every step since the observation before, the latest last; by default ``loss`` alone.
        fit, fits: which fit of how many this step was of, from 1: a list's pictures, an ensemble's seeds.
            ``index``, ``limit`` and tiles are those of this fit, ``seconds`` those of its picture. Fits that
            are made in lockstep take turns.
    """

    index: int
    loss: float
    seconds: float
    limit: int | None = None
    kept: np.ndarray | None = field(default=None, repr=False)
    restored: bool = False
    reason: StopReason | None = None
    tile: int = 1
    tiles: int = 1
    earlier: int = 0
    losses: tuple[float, ...] = field(default=(), repr=False)
    fit: int = 1
    fits: int = 1

    def __post_init__(self) -> None:
        if not self.losses:
            object.__setattr__(self, "losses", (self.loss,))


@dataclass(frozen=True)
class FittedTile:
    """What became of one tile of a large picture.

    Args:
        top, left, height, width: its place in the answer, in pixels.
        steps, seconds, chosen_step: as in ``FitResult``, of this tile alone; 0 for a tile not reached.
        loss: the data term of its last step; None for a tile not reached.
        reason: why its fit ended.
    """

    top: int
    left: int
    height: int
    width: int
    steps: int
    seconds: float
    chosen_step: int
    loss: float | None
    reason: StopReason


@dataclass(frozen=True)
class FittedMember:
    """What became of one fit of an ensemble.

    Args:
        seed: its own.
        steps, seconds, chosen_step, loss, reason, tiles: as in ``FitResult``, of this fit alone. Fits that
            were made in lockstep took the same seconds.
    """

    seed: int
    steps: int
    seconds: float
    chosen_step: int
    loss: float
    reason: StopReason
    tiles: tuple[FittedTile, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class FitResult:
    """A restored picture and how it came about.

    Args:
        image: the answer, of the same kind, dtype and layout as the picture that went in (a path
            gives a PIL image).
        reason: why the fit ended.
        steps: optimiser steps this fit took.
        seconds: it took, reading and preparing included.
        loss: the data term of the last step.
        history: the loss of every step and, where a reference was given, PSNR and SSIM on the way
            (``History``; ``np.asarray`` of it is the losses).
        engine: the engine's name.
        device: what ran it; keys "device", "isa", "version" as far as they apply.
        chosen_step: the step whose estimate is ``image``: the last one, unless a stopping rule found
            the best one earlier. Of the earlier one the estimate was put aside, not the weights.
        psnr, ssim: of ``image`` beside the reference (PSNR in dB, infinite for equal pictures); None
            without one. Of tiles and ensembles that of the whole answer, not of its parts.
        tiles: of a picture fitted in tiles, in the order they were fitted; empty for one piece. Then
            ``reason`` is the one most tiles ended for, ``steps`` and ``chosen_step`` are sums over tiles,
            ``loss`` is their mean, and ``history`` has one tile after the other (``History.parts``), each
            compared with its own window of the reference. After an interruption the tiles not reached are
            there with 0 steps, and ``image`` shows the picture that went in there.
        members: of an ensemble, in the order of their seeds: the fits whose estimates were averaged; empty
            for a single fit. Then ``reason``, ``steps``, ``chosen_step``, ``loss`` and ``history`` are made
            of them as they are of tiles, and tiles stand there. After an interruption only those fits are
            there that had ended by themselves, or where none had, those that were begun.
        parts: what else the task found, by name, each float32 [H, W] or [H, W, C]: of ``Enhance`` "coarse"
            and "detail", of ``Dehaze`` "transmission" and "airlight"; empty for most tasks.
        state: all state of the program where the fit *ended* (weights, moments, average, random
            counter), from which a program goes on; None for frames of a stream, where copying it
            would cost more than the frame (``Session.state()`` has it), and for tiles and ensembles, whose
            weights are not kept.
        view: where this frame of a stream lies in the scene, in pixels of ``image`` (its pixel (x, y) shows
            what the first frame of the scene had at ``view``'s (x', y')); ``View()`` without a stream.
        scene_cut: whether another scene began with this frame, so that its fit did not go on from the last.
        frame: of ``Session.stream``, which frame of the source this is, from 0; else None.
        latency: of ``Session.stream``, seconds from that frame's arrival to this result, those for which it
            waited for others among them; else None.
    """

    image: Any = field(repr=False)
    reason: StopReason
    steps: int
    seconds: float
    loss: float
    history: History = field(repr=False)
    engine: str
    device: dict[str, str]
    chosen_step: int
    psnr: float | None = None
    ssim: float | None = None
    tiles: tuple[FittedTile, ...] = field(default=(), repr=False)
    members: tuple[FittedMember, ...] = field(default=(), repr=False)
    state: dict[str, np.ndarray] | None = field(default=None, repr=False)
    parts: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    view: View = FIRST_VIEW
    scene_cut: bool = False
    frame: int | None = None
    latency: float | None = None
