"""An `apply` to a cloud dies wherever it can: nothing is bought twice, nothing is lost, and the next `apply` goes on.

By the books of the stand-in, which knows what was started. `KILLS=all` tries every place in every story; without it
every failpoint of a fresh `apply`, and of the rest a part that is spread evenly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from qrun.failpoint import NAMES
from tests.booked import several
from tests.emulator import shared
from tests.killing import Look, Point, some, usable
from tests.stories import EARLIER, STORIES, Trial, passages, played, traced

ALL = os.environ.get("KILLS") == "all"
PLACES = 10**6 if ALL else 40  # failpoints in all stories but the plain one
POINTS = 10**6 if ALL else 160  # system calls
SECONDS = float("inf") if ALL else 20  # after which no more system calls are tried
LEAST = 30  # that are tried however long it takes


@pytest.mark.slow
def test_at_whatever_failpoint_it_dies_the_next_apply_goes_on(tmp_path: Path) -> None:
    plain = [
        Trial(story="fresh", number=number, death=name, folder=tmp_path / f"fresh-{number}", cloud=shared())
        for number in (3, 1)
        for name in NAMES
    ]
    with several() as pool:
        passed = list(pool.map(passages, plain))
        trials = list(others(plain, passed))
        looks = list(pool.map(played, trials))

    assert [words for look in (*chain.from_iterable(passed), *looks) if look for words in look.wrong] == []
    reached = {trial.death for trial, found in zip(plain, passed, strict=True) if found[0].reached}
    for trial, look in zip(trials, looks, strict=True):
        if look is not None and look.reached:
            reached.add(str(trial.death).partition(":")[0])
    assert reached == set(NAMES)


def others(plain: Sequence[Trial], passed: Sequence[Sequence[Look]]) -> Iterator[Trial]:
    """All other stories at the places that a fresh command passes, and a job that replaces one at all places."""
    places = [
        replace(trial, death=f"{trial.death}:{times}")
        for trial, found in zip(plain, passed, strict=True)
        for times in range(1, len(found))
    ]
    told = [replace(trial, story=story) for story in STORIES if story not in ("fresh", "replaced") for trial in places]
    told = [replace(trial, earlier=EARLIER[count % len(EARLIER)]) for count, trial in enumerate(told)]
    alone = [trial for trial in places if trial.number == 1]
    replaced = [replace(trial, story="replaced") for trial in (replace(alone[0], death="cancelling:1"), *alone)]
    for count, trial in enumerate((*some(told, PLACES), *some(replaced, PLACES // 8))):
        yield replace(trial, folder=trial.folder.with_name(f"{trial.story}-{count}"))


@pytest.mark.slow
@pytest.mark.skipif(not usable(), reason="strace is not here or may not kill")
def test_at_whatever_system_call_it_dies_the_next_apply_goes_on(tmp_path: Path) -> None:
    kinds = [
        Trial(
            story=story,
            number=number,
            death=None,
            folder=tmp_path / f"{story}-{number}",
            cloud=shared(),
            earlier=EARLIER[count % len(EARLIER)],
        )
        for number in (3, 1)
        for count, story in enumerate(STORIES)
        if story != "replaced"
    ]
    with several() as pool:
        trials = list(planned(kinds, list(pool.map(traced, kinds))))
        looks = [look for look in pool.map(played, trials) if look is not None]

    assert [words for look in looks for words in look.wrong] == []
    assert sum(look.reached for look in looks) > 0.8 * len(looks)


def planned(kinds: Sequence[Trial], calls: Sequence[Sequence[Point]]) -> Iterator[Trial]:
    """In an order in which each part has something of all kinds."""
    every = [(trial, call) for trial, found in zip(kinds, calls, strict=True) for call in found]
    tried = list(some(every, POINTS))
    Random(1).shuffle(tried)
    end = time.monotonic() + SECONDS
    for count, (trial, call) in enumerate(tried):
        folder = trial.folder.with_name(f"{trial.folder.name}-{count}")
        yield replace(trial, death=call, folder=folder, until=float("inf") if count < LEAST else end)
