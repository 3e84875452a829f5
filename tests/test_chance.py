"""That the judge of counts alarms in vain no more often than it says, and notices what is off."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from tests.chance import chance, independent, tails


@pytest.mark.parametrize(("runs", "share"), [(1, 0.5), (20, 0.3), (60, 0.02), (60, 0.98), (200, 0.5)])
@pytest.mark.parametrize("level", [0.2, 0.01, 1e-6])
def test_a_count_is_called_unlikely_no_more_often_than_the_level_says(runs: int, share: float, level: float) -> None:
    def exactly(found: int) -> float:
        return math.comb(runs, found) * share**found * (1 - share) ** (runs - found)

    unlikely = [found for found in range(runs + 1) if tails(found, runs, share) <= level]

    assert sum(map(exactly, unlikely)) <= level * (1 + 1e-9)


def test_the_chance_of_a_coin_is_the_one_that_can_be_counted() -> None:
    assert tails(0, 3, 0.5) == pytest.approx(2 / 8)
    assert tails(1, 3, 0.5) == 1.0
    assert tails(30, 30, 0.5) == pytest.approx(2 / 2**30)


def test_what_never_happens_has_no_chance() -> None:
    assert tails(0, 10, 0.0) == tails(10, 10, 1.0) == 1.0
    assert tails(1, 10, 0.0) == tails(9, 10, 1.0) == 0.0
    assert chance([({"00": 9, "11": 1}, {"00": 0.5, "01": 0.5})]) == 0.0


def test_honest_counts_of_many_runs_are_spread_evenly_over_the_chances() -> None:
    """Each tenth holds a tenth of them, but for the few that an exact judge calls more likely than they are."""
    dice, theory = random.Random(7), {"00": 0.4, "01": 0.1, "10": 0.2, "11": 0.3}

    def honest() -> dict[str, int]:
        return Counter(dice.choices(list(theory), list(theory.values()), k=400))

    found = Counter(int(10 * chance([(honest(), theory)])) for _ in range(1000))

    assert all(found[place] <= 100 + 5 * math.sqrt(100) for place in range(9))
    assert all(found[place] >= 20 for place in range(10))


def test_bits_in_another_order_are_noticed() -> None:
    theory = independent(0.2, 0.5, 0.7)
    counts = {key: round(1000 * share) for key, share in theory.items()}

    assert chance([(counts, theory)]) > 0.5
    assert chance([({key[::-1]: number for key, number in counts.items()}, theory)]) < 1e-6


def test_bits_that_depend_on_each_other_are_noticed() -> None:
    assert chance([({"00": 500, "11": 500}, independent(0.5, 0.5))]) < 1e-6
    assert chance([({"00": 500, "11": 500}, {"00": 0.5, "11": 0.5})]) > 0.5
