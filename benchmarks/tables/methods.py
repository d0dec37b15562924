"""The columns of every table: ours, and what a user would take instead.

A new method is one line in ``methods_of``: a ``Fit`` with its prior, or a ``Baseline`` with its function.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import dipedge as de
from benchmarks.tables import baselines
from benchmarks.tables.answers import Answer, Settings
from benchmarks.tables.baselines import Baseline
from benchmarks.tables.protocols import Case
from dipedge.clips.clip_presets import clip_preset
from dipedge.engines import engine_for
from dipedge.presets import preset
from dipedge.priors import pixels

Progress = Callable[[de.Step], object] | None
# An average over frames that move blurs: what ``Session.push`` says to take then.
STREAM_AVERAGE = 0.9


@dataclass(frozen=True)
class Fit:
    """One of ours, a picture fitted from scratch.

    Args:
        name: of its column, and of the published column it is compared with.
        prior: a name or ``Prior`` that ``de.Session`` takes.
        options: other arguments of ``de.Session`` that make the method what it is, such as "steps".
        only: the engine it runs on whatever is asked for, named as its module; "" for any.
    """

    name: str
    prior: Any
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    only: str = ""
    fitted = True

    def missing(self) -> str | None:
        """Why its own engine cannot run; one that was asked for and is not here is an error (``engine``)."""
        if not self.only or importlib.util.find_spec(self.only):
            return None
        return f"{self.name} is left out: it runs on the engine {self.only!r} only, which is not installed"

    def engine(self, name: str, case_task: Any, quality: str, regime: str | None) -> str:
        """The engine that ``name`` ("auto" or one) comes to.

        Raises:
            EngineError, InputError: it cannot run here, or not this prior.
        """
        chosen = preset(case_task, self.prior, quality, self.options.get("steps"), regime)
        return engine_for(self.only or name, chosen.prior, case_task).name

    def session(self, case: Case, settings: Settings, progress: Progress) -> de.Session:
        """A session as the settings and this method want it; the settings' steps go first."""
        given = {
            "preset": case.regime,
            "engine": settings.engine,
            "quality": settings.quality,
            "precision": settings.precision,
            "seed": settings.seed,
            "ensemble": settings.ensemble,
            "threads": settings.threads,
            "progress": progress,
        }
        given |= self.options
        if settings.steps is not None:
            given["steps"] = settings.steps
        return de.Session(case.task, prior=self.prior, **given)

    def run(self, case: Case, settings: Settings, progress: Progress) -> Answer:
        """Fits the case."""
        with self.session(case, settings, progress) as session:
            return answer_of([session.fit(case.degraded)], stack=False)


class PerFrame(Fit):
    """Every frame of a clip fitted from scratch."""

    def run(self, case: Case, settings: Settings, progress: Progress) -> Answer:
        with self.session(case, settings, progress) as session:
            return answer_of([session.fit(frame) for frame in case.degraded])


class Stream(Fit):
    """The first frame of a clip fitted from scratch, every further one in a few steps from the last."""

    def run(self, case: Case, settings: Settings, progress: Progress) -> Answer:
        with self.session(case, settings, progress) as session:
            first, *further = case.degraded
            results = [session.fit(first)]
            return answer_of(results + [session.push(frame) for frame in further])


class Clip(Fit):
    """All frames of a clip together, by ``de.restore_video``; None as the prior is PIP's with time."""

    def engine(self, name: str, case_task: Any, quality: str, regime: str | None) -> str:
        chosen = clip_preset(case_task, self.prior, quality, self.options.get("steps"))
        return engine_for(self.only or name, chosen.prior, case_task).name

    def run(self, case: Case, settings: Settings, progress: Progress) -> Answer:
        found = de.restore_video(
            case.degraded,
            case.task,
            prior=self.prior,
            engine=settings.engine,
            quality=settings.quality,
            steps=self.options.get("steps") if settings.steps is None else settings.steps,
            precision=settings.precision,
            seed=settings.seed,
            threads=settings.threads,
            progress=progress,
        )
        device = found.device
        return Answer(
            image=np.asarray(found.frames),
            seconds=found.seconds,
            steps=found.steps,
            reason=found.reason.value,
            machine=device.get("device", ""),
            isa=device.get("isa", ""),
        )


def answer_of(results: list[de.FitResult], stack: bool = True) -> Answer:
    """Of a clip's frames; steps and seconds are sums."""
    device = results[-1].device
    return Answer(
        image=np.stack([one.image for one in results]) if stack else results[0].image,
        seconds=sum(one.seconds for one in results),
        steps=sum(one.steps for one in results),
        reason=results[0].reason.value,
        machine=device.get("device", ""),
        isa=device.get("isa", ""),
    )


Method = Fit | Baseline


def without_network(tv: float, **options: Any) -> tuple[Fit, Fit]:
    """The paper's two baselines with our data term, optimiser and steps: TV of weight ``tv``, and nothing.

    Weights were best of several (0.005 to 0.04 for super-resolution, 0.0003 to 0.03 for inpainting) on
    pieces of 128 x 128 of scikit-image's astronaut, coffee and chelsea.
    """
    return Fit("TV", pixels(tv), options, "torch"), Fit("no prior", pixels(), options, "torch")


SUPER_RESOLUTION = (Baseline("bicubic", baselines.bicubic), Baseline("Lanczos", baselines.lanczos))
DENOISING = (
    Baseline("TV", baselines.total_variation, "skimage.restoration"),
    Baseline("NLM", baselines.nonlocal_means, "skimage.restoration"),
    Baseline("BM3D", baselines.block_matching, "bm3d"),
)
INPAINTING = (
    Baseline("griddata cubic", baselines.griddata_cubic, "scipy.interpolate"),
    Baseline("biharmonic", baselines.biharmonic, "skimage.restoration"),
    Baseline("Telea", baselines.telea, "cv2"),
)


def clips_of(priors: list[str]) -> list[Clip]:
    """Fits of whole clips: ours, and the one the PIP paper compares with."""
    both = {"pip": Clip("PIP clip", None), "dip": Clip("3D-DIP", "dip3d", only="torch")}
    return [fit for name, fit in both.items() if name in priors]


def methods_of(table: str, priors: list[str]) -> list[Method]:
    """The columns of a table, ours first."""
    if table == "video":
        return [
            *clips_of(priors),
            *(PerFrame(f"{name.upper()} per frame", name) for name in priors),
            *(Stream(f"{name.upper()} stream", name, {"average": STREAM_AVERAGE}) for name in priors),
            *(baselines.per_frame(one) for one in DENOISING),
            Baseline("NLM over 5 frames", baselines.nonlocal_means_over_frames, "cv2"),
            Baseline("BM4D", baselines.block_matching_over_frames, "bm4d"),
        ]
    ours = [Fit(name.upper(), name) for name in priors]
    others = {
        "sr4": (*without_network(0.02), *SUPER_RESOLUTION),
        "sr8": (*without_network(0.04), *SUPER_RESOLUTION),
        "denoise": DENOISING,
        # Where nothing is known, nothing but a prior decides: "no prior" would stay the noise it began as.
        "inpaint50": (without_network(0.001, steps=2000, learning_rate=0.01)[0], *INPAINTING),
    }
    return [*ours, *others[table]]
