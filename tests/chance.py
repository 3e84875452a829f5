"""How likely counts are, if a theory is right: exact, so that whoever judges by it knows how often it alarms in vain.

Bits are looked at one after the other: of the runs that begin with some bits, so many have a one next, which is a
binomial question whatever the bits depend on. Each answer is the chance of a count that is as far off or farther, on
the same side, doubled. Fisher's method makes one number of all of them: alarming below a level happens with honest
counts no more often than the level says, however few or unlikely the runs are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

Theory = Mapping[str, float]  # how often each key is measured; what is not named, never


def chance(measured: Iterable[tuple[Mapping[str, int], Theory]]) -> float:
    """Of counts that fit their theories as badly as all of these together."""
    return _together([each for counts, theory in measured for each in _answers(counts, theory)])


def independent(*ones: float) -> Theory:
    """Bits that have nothing to do with each other, each a one so often."""
    theory = {"": 1.0}
    for one in ones:
        theory = {
            key + bit: part * share for key, part in theory.items() for bit, share in (("0", 1 - one), ("1", one))
        }
    return theory


def _answers(counts: Mapping[str, int], theory: Theory) -> Iterator[float]:
    (length,) = {len(key) for key in (*counts, *theory)}
    for place in range(length):
        for begun in sorted({key[:place] for key in counts}):
            zeros, ones = (_beginning(counts, begun + bit) for bit in "01")
            never, ever = (_beginning(theory, begun + bit) for bit in "01")
            yield tails(int(ones), int(zeros + ones), ever / (never + ever) if never + ever else 0.0)


def _beginning(numbers: Mapping[str, float], begun: str) -> float:
    return sum(number for key, number in numbers.items() if key.startswith(begun))


def tails(found: int, runs: int, share: float) -> float:
    """Of finding so many or fewer, or so many or more, whichever is less likely; twice that, being one of two."""
    up_to = _up_to(runs, share)
    below = up_to[found]
    above = 1 - up_to[found - 1] if found else 1.0
    if above < 1e-9:  # what the difference cannot tell
        above = _up_to(runs, 1 - share)[runs - found]
    return min(1.0, 2 * min(below, above))


@lru_cache(maxsize=512)
def _up_to(runs: int, share: float) -> tuple[float, ...]:
    """For each number, the chance of finding so many or fewer."""
    if not 0 < share < 1:
        return tuple(float(share <= 0 or found == runs) for found in range(runs + 1))
    one, none, whole = math.log(share), math.log1p(-share), math.lgamma(runs + 1)
    total, found = 0.0, []
    for ones in range(runs + 1):
        ways = whole - math.lgamma(ones + 1) - math.lgamma(runs - ones + 1)
        total += math.exp(ways + ones * one + (runs - ones) * none)
        found.append(min(1.0, total))
    return tuple(found)


def _together(answers: list[float]) -> float:
    """Of a product of so many even numbers between 0 and 1 that is as small as theirs."""
    if not all(answers):
        return 0.0
    size = -sum(math.log(answer) for answer in answers)
    term, total = math.exp(-size), 0.0
    for place in range(len(answers)):
        total += term
        term *= size / (place + 1)
    return min(1.0, total)
