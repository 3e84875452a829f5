"""A command on Pasqal Cloud dies wherever it can: nothing is bought twice, nothing is lost, and somebody can go on.

By the books of the stand-in. What can be searched (a batch) is cleared up by the next command; jobs that joined a batch
and copies of a batch are taken in by their number, or the user is asked; for a workload the user is asked, and nothing
is sent again. `KILLS=all` dies at every passage of every failpoint in every story, and there twice more with an edit, a
detour, or both before somebody goes on; without it, at a part that is spread evenly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, cycle, product
from pathlib import Path
from random import Random

import pytest

from qrun.failpoint import NAMES
from tests.booked_pasqal import several
from tests.edits_pasqal import EDITS
from tests.emulator_pasqal import shared
from tests.killing import Look
from tests.stage_pasqal import DETOURS, Trial
from tests.stories_pasqal import STORIES, UNTRUE, passages, played

ALL = os.environ.get("KILLS") == "all"
PLACES = 120
SECONDS = 18  # after which no more places are tried
WAYS = tuple(product(("", *DETOURS), ("", *EDITS)))[1:]  # between two commands, beside the straight one
SIMPLE = frozenset({"replaced"})  # edited by itself
OFTEN = {"sending": 9, "answered": 9, "kept": 4, "heard": 2}  # how often a story passes a place; the others, once
# Between the intent and the handle: tried in any case.
NARROW = {
    "create": ("intended", "sending:4", "answered:4", "submitted", "accepted"),
    "join": ("intended", "noted", "sending:6", "sending:7", "answered:7", "submitted", "accepted"),
    "rebatch": ("intended", "noted", "sending:5", "answered:5", "submitted", "accepted"),
    "work": ("intended", "sending:2", "answered:2", "submitted", "accepted"),
}


@pytest.mark.slow
def test_at_whatever_failpoint_it_dies_nothing_is_lost_and_nothing_bought_twice(tmp_path: Path) -> None:
    with several() as pool:
        if ALL:
            straight = list(everywhere(tmp_path))
            passed = list(pool.map(passages, straight))
            looks = [*chain.from_iterable(passed), *pool.map(played, roundabout(straight, passed))]
        else:
            looks = list(pool.map(played, here_and_there(tmp_path)))

    tried = [look for look in looks if look is not None]
    assert [words for look in tried for words in look.wrong] == []
    assert sum(look.reached for look in tried) > 0.5 * len(tried)
    assert not ALL or {place(look) for look in tried if look.reached} == set(NAMES)


def everywhere(folder: Path) -> Iterator[Trial]:
    for story in STORIES:
        for name in NAMES:
            yield Trial(story=story, death=name, folder=folder / story, cloud=shared())


def roundabout(straight: Sequence[Trial], passed: Sequence[Sequence[Look | None]]) -> Iterator[Trial]:
    """Each place that the commands pass by the straight way, by two others; all ways have their turn in each story."""
    ways = cycle(WAYS)
    for trial, looks in zip(straight, passed, strict=True):
        if trial.story in SIMPLE:
            continue
        for times, (detour, edit) in zip(sorted(2 * list(range(1, len(looks)))), ways, strict=False):
            if (trial.story, detour) not in UNTRUE:
                folder = trial.folder.with_name(f"{trial.story}-{trial.death}-{times}-{edit}-{detour}")
                yield replace(trial, death=f"{trial.death}:{times}", folder=folder, edit=edit, detour=detour)


def here_and_there(folder: Path) -> Iterator[Trial]:
    """What is tried in any case, then of the rest what there is time for, in an order that has something of all."""
    dice = Random(1)
    always = [(story, death, "", "") for story, deaths in NARROW.items() for death in deaths]
    rest = [
        (story, f"{name}:{times}", *dice.choice(WAYS))
        for story in STORIES
        for name in NAMES
        for times in range(1, OFTEN.get(name, 1) + 1)
        if story not in SIMPLE
    ]
    tried = [each for each in dice.sample(rest, PLACES) if (each[0], each[2]) not in UNTRUE]
    end = time.monotonic() + SECONDS
    for count, (story, death, detour, edit) in enumerate((*always, *tried)):
        until = float("inf") if count < len(always) else end
        way = {"detour": detour, "edit": edit}
        yield Trial(story=story, death=death, folder=folder / str(count), cloud=shared(), until=until, **way)


def place(look: Look) -> str:
    """The failpoint, of a trial by the straight way or by another."""
    return look.name.partition(" killed at ")[2].partition(",")[0].partition(":")[0]
