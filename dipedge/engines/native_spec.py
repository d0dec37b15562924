"""Descriptions as the plain numbers and words that ``dipedge._native.Program`` is compiled from.

The other side reads them by name (bindings/program_calls.cpp), and knows what may stand in each; what a
description may say at all is checked by the description itself.
"""

from __future__ import annotations

from dipedge.engines.base import Settings
from dipedge.engines.initial import initial_frequencies, initial_time_frequencies
from dipedge.optimisers import Muon
from dipedge.priors import Fourier, Prior
from dipedge.tasks import Task


def _network(prior: Prior) -> dict[str, object]:
    net = prior.network
    return {
        "levels": [
            (level.down, level.up, level.skip, level.kernel_down, level.kernel_up, level.kernel_skip)
            for level in net.levels
        ],
        "bilinear": net.upsample == "bilinear",
        "reflect": net.padding == "reflection",
        "need1x1_up": net.need1x1_up,
        "sigmoid": net.sigmoid,
        "downsample": net.downsample,
        "slope": net.slope,
        "bn_eps": net.bn_eps,
    }


def _encoding(prior: Prior, settings: Settings) -> dict[str, object]:
    encoding = prior.encoding
    fourier = isinstance(encoding, Fourier)
    return {
        "channels": encoding.channels,
        "frequencies": initial_frequencies(encoding).tolist() if fourier else [],
        "times": initial_time_frequencies(encoding).tolist(),
        "learned": fourier and encoding.learned,
        "warped": settings.warped,
        "perturbation": prior.perturbation,
        "perturb_frequencies": prior.perturb == "frequencies",
    }


def _optimiser(settings: Settings) -> dict[str, object]:
    """Muon's learning rate 0 says that there is none: Adam then updates everything."""
    muon = settings.optimiser if isinstance(settings.optimiser, Muon) else None
    adam = muon.rest if muon else settings.optimiser
    return {
        "adam": (adam.learning_rate, adam.beta1, adam.beta2, adam.eps),
        "muon": (muon.learning_rate, muon.momentum, muon.iterations) if muon else (0.0, 0.0, 0),
        "fall": (muon.hold, muon.decay, muon.final) if muon else (0, 0, 1.0),
    }


def program_spec(
    prior: Prior, task: Task, shape: tuple[int, int, int], settings: Settings
) -> dict[str, object]:
    """All that describes a fit, whatever it runs on; the caller adds "threads", "isa" and "bf16".

    Args:
        prior: what is fitted; an hourglass.
        task: its data term; of an "outer" one the program computes nothing.
        shape: of the estimate, [H, W, C].
        settings: the seed is taken modulo 2^64.
    """
    term = task.data_term
    return _optimiser(settings) | {
        "network": _network(prior) | {"subsample": settings.subsample},
        "encoding": _encoding(prior, settings),
        "term": {"kind": term.kind, "scale": term.scale, "lobes": term.lobes},
        "shape": tuple(shape),
        "frames": settings.frames,
        "average": settings.average,
        "weight_noise": prior.weight_noise,
        "seed": settings.seed & (2**64 - 1),
        "input_gradient": settings.input_gradient,
    }
