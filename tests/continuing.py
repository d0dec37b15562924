"""What every engine promises of a stored fit: another program, or session, goes on from it bit for bit."""

from __future__ import annotations

import numpy as np

import dipedge as de


def check_it_continues(first, second):
    """``second``, of another seed, goes on from where ``first`` is after three steps; both have targets."""
    first.step(3)
    second.load_state(first.state())
    for made in (first, second):
        made.step(2)
    wanted, found = first.state(), second.state()
    assert wanted.keys() == found.keys()
    assert [key for key in wanted if not np.array_equal(wanted[key], found[key])] == []


def check_it_is_saved(path, image, **options):
    """A session of denoising that was saved at ``path`` is loaded and pushes the same answer."""
    with de.Session(de.Denoise(), **options, engine="torch", steps=3, seed=5) as session:
        session.fit(image)
        session.save(path)
        wanted = session.push(image, stop=de.MaxSteps(3))
    with de.Session.load(path) as loaded:
        assert loaded.prior == options["prior"]
        found = loaded.push(image, stop=de.MaxSteps(3))
    assert np.array_equal(found.image, wanted.image)
