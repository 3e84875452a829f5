"""Thirty published OpenQASM 2 circuits against counts of another simulator."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "programs" / "qasmbench"
SHOTS = 10_000
ALARM = 1e-6  # how often all comparisons together may fail by chance

DENSE = ("dnn_n16",)  # no decision diagram is small for it

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the circuits are not here"),
]


def references() -> dict[str, Any]:
    path = FOLDER / "reference.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return found


def manifest() -> str:
    """One job a circuit; the dense ones on `aer` where it is installed."""
    dense = "aer" if find_spec("qiskit_aer") is not None else "ddsim"
    lines = ["name: qasmbench", f"defaults: {{provider: local, device: ddsim, shots: {SHOTS}}}", "jobs:"]
    for name in references():
        device = f", device: {dense}" if name in DENSE else ""
        lines.append(f"  {name}: {{program: programs/{name}.qasm{device}}}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, int]]:
    """What one `apply` of all circuits recorded, by circuit."""
    project = tmp_path_factory.mktemp("qasmbench")
    (project / "programs").mkdir()
    for name in references():
        shutil.copy(FOLDER / f"{name}.qasm", project / "programs")
    (project / "qasmbench.yaml").write_text(manifest())
    command = [sys.executable, "-m", "qrun", "apply", "qasmbench.yaml"]

    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    again = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)

    assert (done.returncode, again.stdout) == (0, f"nothing to do: {len(references())} jobs are done\n"), done.stderr
    return dict(map(recorded, project.glob("results/qasmbench/*/*/record.json")))


def recorded(path: Path) -> tuple[str, Mapping[str, int]]:
    record = json.loads(path.read_text())
    results = record.get("results") or json.loads((path.parent / "results.json").read_text())
    return record["key"], results["counts"]


def marginals(counts: Mapping[str, int], bits: int, order: int) -> dict[tuple[tuple[int, ...], str], int]:
    """How often each choice of `order` bits shows each value."""
    found: dict[tuple[tuple[int, ...], str], int] = {}
    for places in combinations(range(bits), order):
        for key, number in counts.items():
            value = (places, "".join(key[place] for place in places))
            found[value] = found.get(value, 0) + number
    return found


def deviations(ours: Mapping[Any, int], theirs: Mapping[Any, int], shots: int, others: int) -> Iterator[float]:
    """Each difference of two frequencies in standard deviations; a count of one more keeps rare ones in bounds."""
    for value in ours.keys() | theirs.keys():
        a, b = ours.get(value, 0), theirs.get(value, 0)
        pooled = (a + b + 1) / (shots + others + 2)
        yield abs(a / shots - b / others) / math.sqrt(pooled * (1 - pooled) * (1 / shots + 1 / others))


def agree(counts: Mapping[str, int], reference: Mapping[str, Any]) -> None:
    bits, others = reference["bits"], reference["shots"]
    assert sum(counts.values()) == SHOTS
    assert {len(key) for key in counts} == {bits}
    if reference["outcomes"] <= SHOTS / 10:
        theirs = reference["counts"]
        keys = counts.keys() | theirs.keys()
        distance = sum(abs(counts.get(key, 0) / SHOTS - theirs.get(key, 0) / others) for key in keys) / 2
        mean = 0.5 * math.sqrt(2 / math.pi) * math.sqrt(len(keys) * (1 / SHOTS + 1 / others))
        assert distance <= mean + math.sqrt(math.log(1 / ALARM) / 2 * (1 / SHOTS + 1 / others))
        return
    theirs = reference["counts"]
    if reference["truncated"]:  # only its most frequent outcomes are listed, so only those can be compared
        listed = [key for key, number in theirs.items() if number >= 50]
        ours = {key: counts.get(key, 0) for key in listed}
        limit = math.sqrt(2 * math.log((len(listed) + 1) / ALARM))
        assert max(deviations(ours, {key: theirs[key] for key in listed}, SHOTS, others), default=0) <= limit
        counts = {key: number for key, number in counts.items() if key in theirs}
    shots = sum(counts.values())
    kept = sum(theirs.values())
    tests = 2 * bits + 2 * bits * (bits - 1)
    limit = math.sqrt(2 * math.log(tests / ALARM))
    for order in (1, 2):
        ours = marginals(counts, bits, order)
        bound = max(deviations(ours, marginals(theirs, bits, order), shots, kept))
        assert bound <= limit


@pytest.mark.parametrize("name", references())
def test_a_published_circuit_agrees_with_its_reference(name: str, counts: Mapping[str, Mapping[str, int]]) -> None:
    agree(counts[name], references()[name])


def test_the_fourier_transform_of_zero_is_uniform(counts: Mapping[str, Mapping[str, int]]) -> None:
    found = counts["qft_n18"]

    assert {key[18:] for key in found} == {"0" * 18}
    for order in (1, 2):
        for (places, _), number in marginals(found, 18, order).items():
            expected = SHOTS / 2 ** len(places)
            assert abs(number - expected) <= 6.6 * math.sqrt(expected * (1 - 1 / 2 ** len(places)))
