"""Atoms by way of the whole tool: one `qrun apply` to the stand-in with its real simulator, against what theory says.

The programs are written by Pulser, the command is a process of its own, the counts are those of the records. Each test
that judges counts alarms in vain once in a million runs at most (`tests/chance.py`); what it would notice is tried out
on the same counts, changed. Left out where Pulser is not installed; `make official-pasqal` runs it.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any, Final

import pytest

from tests.booked_pasqal import APPLY, project, write
from tests.chance import Theory, chance, independent
from tests.desk import Desk
from tests.emulator_pasqal import Cloud, stand_in

pulser: Any = pytest.importorskip("pulser", reason="the extra pulser is not installed")
pytest.importorskip("pulser_simulation", reason="the extra pulser is not installed")

ALARM: Final = 1e-6
SHOTS: Final = 10_000
TIME: Final = 1.0  # microseconds that each pulse lasts

# Areas of one and a half turns, of which no two excite an atom equally often; neighbours differ by 12 deviations.
AREAS: Final = [round(2 * math.pi * 3 * place / 49, 6) for place in range(25)]
DETUNED: Final = [
    *((3.0, 0.5 * place * (-1) ** place) for place in range(12)),  # omega and delta; each as unlike the others
    (5.0, 3.0),
    (8.0, -3.5),
]
PAIRED: Final = [round(2 * math.pi * 3 * place / 19 / math.sqrt(2), 6) for place in range(10)]
FAR: Final = [0.7, 1.6, 2.9, 4.0]
BEAMS: Final = [(1.0, 2.0, 0.5), (0.4, 1.2, 2.6), (2.2, 0.3, 1.5)]

Places = Mapping[str, tuple[float, float]]


# --- what theory says -------------------------------------------------------------------------------------------------


def rabi(omega: float, delta: float = 0.0) -> float:
    """How often an atom is excited that was driven for `TIME`."""
    whole = math.hypot(omega, delta)
    return (omega / whole) ** 2 * math.sin(whole * TIME / 2) ** 2 if whole else 0.0


def blocked(omega: float) -> Theory:
    """Two close atoms: one excitation for both, which the field drives more strongly by the root of two."""
    excited = rabi(math.sqrt(2) * omega)
    return {"00": 1 - excited, "01": excited / 2, "10": excited / 2}


def beside(first: Theory, second: Theory) -> Theory:
    """Atoms that are far from the others."""
    return {one + two: part * share for one, part in first.items() for two, share in second.items()}


# --- programs ---------------------------------------------------------------------------------------------------------


def driven(places: Places) -> str:
    """All atoms by one pulse, whose amplitude and detuning are left open."""
    sequence = pulser.Sequence(pulser.Register(places), pulser.MockDevice)
    sequence.declare_channel("laser", "rydberg_global")
    omega, delta = sequence.declare_variable("omega"), sequence.declare_variable("delta")
    sequence.add(pulser.Pulse.ConstantPulse(round(1000 * TIME), omega, delta, 0.0), "laser")
    return measured(sequence)


def addressed(places: Places) -> str:
    """Each atom by a pulse of its own, the last one first; a variable has the atom's name."""
    sequence = pulser.Sequence(pulser.Register(places), pulser.MockDevice)
    sequence.declare_channel("beam", "rydberg_local", initial_target=list(places)[-1])
    for name in reversed(list(places)):
        sequence.target(name, "beam")
        amplitude = sequence.declare_variable(name)
        sequence.add(pulser.Pulse.ConstantPulse(round(1000 * TIME), amplitude, 0.0, 0.0), "beam")
    return measured(sequence)


def measured(sequence: Any) -> str:
    sequence.measure("ground-rydberg")
    text: str = sequence.to_abstract_repr()
    return text


@dataclass(frozen=True, kw_only=True)
class Register:
    """Atoms, what is done to them, and what should come of it."""

    places: Places
    params: Sequence[Mapping[str, float]]
    theory: Callable[[Mapping[str, float]], Theory]
    program: Callable[[Places], str] = driven


def at(omegas: Sequence[float]) -> list[dict[str, float]]:
    return [{"omega": omega, "delta": 0.0} for omega in omegas]


# The names are in no order that somebody might sort them into.
REGISTERS: Final[Mapping[str, Register]] = {
    "rabi": Register(
        places={"q": (0.0, 0.0)},
        params=at(AREAS),
        theory=lambda params: independent(rabi(params["omega"])),
    ),
    "detuned": Register(
        places={"q": (0.0, 0.0)},
        params=[{"omega": omega, "delta": delta} for omega, delta in DETUNED],
        theory=lambda params: independent(rabi(params["omega"], params["delta"])),
    ),
    "close": Register(
        places={"west": (0.0, 0.0), "east": (3.5, 0.0)},
        params=at(PAIRED),
        theory=lambda params: blocked(params["omega"]),
    ),
    "far": Register(
        places={"west": (0.0, 0.0), "east": (80.0, 0.0)},
        params=at(FAR),
        theory=lambda params: independent(rabi(params["omega"]), rabi(params["omega"])),
    ),
    "uneven": Register(
        places={"m-lone": (80.0, 0.0), "z": (0.0, 0.0), "a": (3.5, 0.0)},
        params=at(FAR),
        theory=lambda params: beside(independent(rabi(params["omega"])), blocked(params["omega"])),
    ),
    "beams": Register(
        places={"m": (0.0, 0.0), "z": (40.0, 0.0), "a": (0.0, 40.0)},
        params=[dict(zip(("m", "z", "a"), omegas, strict=True)) for omegas in BEAMS],
        theory=lambda params: independent(*(rabi(params[name]) for name in ("m", "z", "a"))),
        program=addressed,
    ),
}


# --- what is recorded -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Run:
    params: Mapping[str, float]
    bits: Sequence[str]
    counts: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Lab:
    desk: Desk
    account: Cloud
    jobs: Mapping[str, Any]

    def apply(self) -> str:
        with self.desk.start(*APPLY) as command:
            out, err = command.communicate(timeout=300)
        assert command.returncode == 0, out + err
        return out

    def runs(self, name: str) -> list[Run]:
        """As the records have them, in the order of the manifest."""
        records = [json.loads(path.read_text()) for path in self.desk.folder.glob("results/*/*/*/record.json")]
        found = [
            Run(params=each["job"]["params"], bits=each["results"]["bits"], counts=each["results"]["counts"])
            for each in records
            if each["key"].partition(":")[0] == name
        ]
        return sorted(found, key=lambda run: REGISTERS[name].params.index(run.params))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One manifest with all of them, applied once."""
    jobs = {
        name: {
            "provider": "atoms",
            "device": "EMU_FREE",
            "program": f"programs/{name}.json",
            "shots": SHOTS,
            "matrix": {"include": register.params},
            "params": {each: f"{{{{ matrix.{each} }}}}" for each in register.params[0]},
        }
        for name, register in REGISTERS.items()
    }
    with stand_in("--seed", "7") as real:
        account = real.new_account()
        desk = project(Desk(tmp_path_factory.mktemp("atoms")), account, {})
        for name, register in REGISTERS.items():
            desk.write(f"specs/programs/{name}.json", register.program(register.places))
        write(desk, jobs)
        lab = Lab(desk=desk, account=account, jobs=jobs)
        lab.apply()
        yield lab


def fit(name: str, runs: Sequence[Run]) -> float:
    return chance([(run.counts, REGISTERS[name].theory(run.params)) for run in runs])


def swapped(runs: Sequence[Run], one: int, two: int) -> list[Run]:
    """Two jobs have each other's results."""
    found = list(runs)
    found[one], found[two] = (
        replace(runs[one], counts=runs[two].counts),
        replace(runs[two], counts=runs[one].counts),
    )
    return found


# --- judged -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGISTERS)
def test_what_is_recorded_of_a_sweep_agrees_with_theory(name: str, lab: Lab) -> None:
    runs = lab.runs(name)

    assert [run.params for run in runs] == REGISTERS[name].params
    assert {sum(run.counts.values()) for run in runs} == {SHOTS}
    assert {tuple(run.bits) for run in runs} == {tuple(REGISTERS[name].places)}
    assert fit(name, runs) > ALARM


@pytest.mark.parametrize("name", REGISTERS)
def test_two_jobs_of_a_sweep_with_each_others_results_would_be_noticed(name: str, lab: Lab) -> None:
    runs = lab.runs(name)

    unseen = [
        (runs[one].params, runs[two].params)
        for one, two in combinations(range(len(runs)), 2)
        if fit(name, swapped(runs, one, two)) > ALARM
    ]

    assert unseen == []


@pytest.mark.parametrize("name", ["uneven", "beams"])
def test_any_other_order_of_the_atoms_would_be_noticed(name: str, lab: Lab) -> None:
    """But for the two that are close to each other, which are alike."""

    def reordered(run: Run, order: Sequence[int]) -> Run:
        return replace(run, counts={"".join(key[place] for place in order): n for key, n in run.counts.items()})

    runs = lab.runs(name)
    alike = [(0, 1, 2), (0, 2, 1)] if name == "uneven" else [(0, 1, 2)]

    fitting = [order for order in permutations(range(3)) if fit(name, [reordered(run, order) for run in runs]) > ALARM]

    assert fitting == alike


def test_close_atoms_would_be_told_from_far_ones(lab: Lab) -> None:
    far, close = lab.runs("far"), lab.runs("close")

    assert chance([(run.counts, blocked(run.params["omega"])) for run in far]) < ALARM
    assert chance([(run.counts, REGISTERS["far"].theory(run.params)) for run in close]) < ALARM
    assert sum(run.counts.get("11", 0) for run in close) <= SHOTS * len(close) / 10_000
    assert all(run.counts["11"] > SHOTS * rabi(run.params["omega"]) ** 2 / 2 for run in far)


def test_each_program_went_out_as_one_batch_and_runs_once(lab: Lab) -> None:
    sizes: Counter[str] = Counter()
    for each in REGISTERS.values():
        sizes[each.program(each.places)] += len(each.params)
    before, batches = lab.desk.tree(), lab.account.books()["batches"]

    write(lab.desk, lab.jobs)
    again = lab.apply()

    assert again == f"nothing to do: {sizes.total()} jobs are done\n"
    assert sorted(len(batch["jobs"]) for batch in batches) == sorted(sizes.values())
    assert lab.account.books()["batches"] == batches
    assert lab.desk.tree() == before
