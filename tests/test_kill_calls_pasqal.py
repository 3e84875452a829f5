"""What sends something to Pasqal Cloud is killed at its system calls: nothing is bought twice, nothing is lost.

Where a failpoint stands, our own code has come to; here the process dies inside a write, a rename, a connect or a send.
`KILLS=all` dies before each call that changes something or speaks to the cloud; without it, at a part that is spread
evenly, as far as there is time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from compileall import compile_dir
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from tests.booked_pasqal import several
from tests.emulator import ROOT
from tests.emulator_pasqal import shared
from tests.killing import Point, some, usable
from tests.stage_pasqal import Trial
from tests.stories_pasqal import played, traced

ALL = os.environ.get("KILLS") == "all"
SENDING = ("create", "create_one", "join", "rebatch", "work")
POINTS = 10**6 if ALL else 60
SECONDS = float("inf") if ALL else 12  # after which no more calls are tried
LEAST = 20  # that are tried however long it takes


@pytest.mark.slow
@pytest.mark.skipif(not usable(), reason="strace is not here or may not kill")
def test_at_whatever_system_call_it_dies_nothing_is_lost_and_nothing_bought_twice(tmp_path: Path) -> None:
    compile_dir(ROOT / "qrun", quiet=1)  # else the first process that is traced would write what no later one does
    kinds = [Trial(story=story, death=None, folder=tmp_path / story, cloud=shared()) for story in SENDING]
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
        until = float("inf") if count < LEAST else end
        yield replace(trial, death=call, folder=trial.folder.with_name(f"{trial.story}-{count}"), until=until)
