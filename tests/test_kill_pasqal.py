"""A command on Pasqal Cloud dies wherever it can: nothing is bought twice, nothing is lost, and somebody can go on.

By the books of the stand-in. What can be searched (a batch) is cleared up by the next command; jobs that joined a batch
are taken in by their number, or the user is asked; for a workload the user is asked, and nothing is sent again.
`KILLS=all` dies at every passage of every failpoint in every story; without it, at a part that is spread evenly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from qrun.failpoint import NAMES
from tests.booked_pasqal import several
from tests.emulator_pasqal import shared
from tests.killing import Look, some
from tests.stories_pasqal import STORIES, Trial, passages, played

ALL = os.environ.get("KILLS") == "all"
PLACES = 120
SECONDS = 35  # after which no more places are tried
OFTEN = {"sending": 11, "answered": 11, "kept": 4, "heard": 2}  # how often a story passes a place; the others, once
# Between the intent and the handle: tried in any case.
NARROW = {
    "create": ("intended", "sending:4", "answered:4", "submitted", "accepted"),
    "join": ("intended", "noted", "sending:6", "sending:7", "answered:7", "submitted", "accepted"),
    "work": ("intended", "sending:2", "answered:2", "submitted", "accepted"),
}


@pytest.mark.slow
def test_at_whatever_failpoint_it_dies_nothing_is_lost_and_nothing_bought_twice(tmp_path: Path) -> None:
    with several() as pool:
        if ALL:
            looks = list(chain.from_iterable(pool.map(passages, everywhere(tmp_path))))
        else:
            looks = [look for look in pool.map(played, here_and_there(tmp_path)) if look is not None]

    assert [words for look in looks for words in look.wrong] == []
    reached = [look for look in looks if look.reached]
    assert len(reached) > 0.6 * len(looks)
    assert not ALL or {place(look) for look in reached} == set(NAMES)


def everywhere(folder: Path) -> Iterator[Trial]:
    for story in STORIES:
        for name in NAMES:
            yield Trial(story=story, death=name, folder=folder / story, cloud=shared())


def here_and_there(folder: Path) -> Iterator[Trial]:
    """What is tried in any case, then of the rest what there is time for, in an order that has something of all."""
    always = [(story, death) for story, deaths in NARROW.items() for death in deaths]
    rest = [
        (story, f"{name}:{times}") for story in STORIES for name in NAMES for times in range(1, OFTEN.get(name, 1) + 1)
    ]
    tried = list(some(rest, PLACES))
    Random(1).shuffle(tried)
    end = time.monotonic() + SECONDS
    for count, (story, death) in enumerate((*always, *tried)):
        until = float("inf") if count < len(always) else end
        yield Trial(story=story, death=death, folder=folder / str(count), cloud=shared(), until=until)


def place(look: Look) -> str:
    return look.name.rpartition(" ")[2].partition(":")[0]
