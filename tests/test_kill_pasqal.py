"""A command on Pasqal Cloud dies wherever it can: nothing is bought twice, nothing is lost, and the next one goes on.

By the books of the stand-in. What can be searched (a batch) is cleared up by itself; jobs that joined a batch are taken
in by their number, or the user is asked; of a workload the user is always asked, and nothing is sent again.
`KILLS=all` dies at every passage of every failpoint in every story; without it, at a part that is spread evenly.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from qrun.failpoint import NAMES
from tests.booked_pasqal import several
from tests.emulator_pasqal import shared
from tests.killing import Look, some
from tests.stories_pasqal import STORIES, Trial, passages, played

ALL = os.environ.get("KILLS") == "all"


@pytest.mark.slow
def test_at_whatever_failpoint_it_dies_somebody_can_go_on(tmp_path: Path) -> None:
    plain = [
        Trial(story=story, death=name, folder=tmp_path / story, cloud=shared()) for story in STORIES for name in NAMES
    ]
    t = time.time()
    with several() as pool:
        looks = list(chain.from_iterable(pool.map(passages, plain)))

    print(len(looks), sum(l.reached for l in looks), time.time() - t)
    from collections import Counter
    print(Counter(l.name.split(",")[0] for l in looks if l.reached))
    print(Counter(l.name.split("killed at ")[1].split(":")[0] for l in looks if l.reached))
    assert [words for look in looks for words in look.wrong] == []
