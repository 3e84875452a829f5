"""Atoms by way of the whole tool: `qrun apply` of a sweep on the stand-in with its real simulator, against theory.

Left out where Pulser is not installed; `make official-pasqal` runs it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.booked_pasqal import APPLY, PULSE, project, write
from tests.desk import Desk
from tests.emulator_pasqal import Cloud, apart, stand_in
from tests.killing import typed

pytest.importorskip("pulser_simulation", reason="the extra pulser is not installed")

SHOTS = 1000
OMEGAS = [round(2 * math.pi * place / 24, 6) for place in range(25)]
SWEEP = {
    "rabi": {
        **PULSE,
        "shots": SHOTS,
        "matrix": {"omega": OMEGAS},
        "params": {"omega": "{{ matrix.omega }}"},
    }
}


@pytest.fixture(scope="module")
def real() -> Iterator[Cloud]:
    with stand_in("--seed", "7") as cloud:
        yield cloud


def swept(desk: Desk) -> Mapping[float, Mapping[str, int]]:
    """The counts of each run by its amplitude, as they are recorded."""
    records = [json.loads(path.read_text()) for path in desk.folder.glob("results/*/*/*/record.json")]
    return {record["job"]["params"]["omega"]: record["results"]["counts"] for record in records}


def near(measured: float, expected: float) -> bool:
    """Within five standard deviations of so many runs."""
    return abs(measured - expected) <= 5 * math.sqrt(expected * (1 - expected) / SHOTS) + 1 / SHOTS


def test_a_sweep_that_is_applied_follows_rabis_curve_in_one_batch(tmp_path: Path, real: Cloud) -> None:
    """Atoms far from each other, each driven for a microsecond: turned by the angle omega."""
    account = real.new_account()
    desk = project(Desk(tmp_path), account, SWEEP)

    answer = typed(desk, *APPLY)

    assert answer.code == 0, answer.err
    found = swept(desk)
    shares = {
        (omega, place): sum(count for bits, count in counts.items() if bits[place] == "1") / SHOTS
        for omega, counts in found.items()
        for place in (0, 1)
    }
    assert len(found) == len(OMEGAS)
    assert [at for at, share in shares.items() if not near(share, math.sin(at[0] / 2) ** 2)] == []
    assert len(account.books()["batches"]) == 1


def test_a_sweep_that_is_applied_to_close_atoms_shows_them_block_each_other(tmp_path: Path, real: Cloud) -> None:
    """Only one of two is excited, and both together turn faster by the root of two."""
    account = real.new_account()
    desk = project(Desk(tmp_path), account, SWEEP)
    desk.write("specs/programs/rabi.json", apart(4.0))

    assert typed(desk, *APPLY).code == 0

    found = swept(desk)
    assert max(counts.get("11", 0) for counts in found.values()) <= 5
    excited = {omega: 1 - counts.get("00", 0) / SHOTS for omega, counts in found.items()}
    assert [o for o, share in excited.items() if not near(share, math.sin(math.sqrt(2) * o / 2) ** 2)] == []


def test_a_second_apply_of_a_sweep_runs_nothing_again(tmp_path: Path, real: Cloud) -> None:
    account = real.new_account()
    desk = project(Desk(tmp_path), account, SWEEP)
    assert typed(desk, *APPLY).code == 0
    before, first = desk.tree(), account.books()["starts"]

    write(desk, SWEEP)
    answer = typed(desk, *APPLY)

    assert (answer.code, answer.out) == (0, f"nothing to do: {len(OMEGAS)} jobs are done\n")
    assert (desk.tree(), account.books()["starts"]) == (before, first)
