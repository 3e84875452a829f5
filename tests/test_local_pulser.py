"""The device `pulser`; left out where its extra is not installed."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from tests.programs import ask, failure, results, run, text

pytest.importorskip("pulser_simulation", reason="the extra pulser is not installed")


@pytest.mark.parametrize("omega", [0.0, math.pi / 2, math.pi, 2 * math.pi])
def test_a_pulse_of_one_microsecond_turns_an_atom_by_omega(omega: float) -> None:
    found = results(text("rabi.json"), device="pulser", shots=4000, params={"omega": omega})

    excited = math.sin(omega / 2) ** 2
    assert found["bits"] == ["left", "right"]
    assert found["shots"] == 4000
    for place in (0, 1):
        ones = sum(count for key, count in found["counts"].items() if key[place] == "1")
        assert abs(ones - 4000 * excited) <= 5 * math.sqrt(4000 * excited * (1 - excited)) + 1


def test_atoms_that_are_close_block_each_other() -> None:
    sequence = json.loads(text("rabi.json"))
    sequence["register"][1]["y"] = 4.0

    found = results(json.dumps(sequence), device="pulser", shots=1000, params={"omega": math.pi})

    assert found["counts"].get("11", 0) <= 5
    assert found["counts"]["01"] + found["counts"]["10"] > 500


def test_the_same_marker_gives_the_same_counts() -> None:
    job = ask(text("rabi.json"), device="pulser", params={"omega": 1.0})

    first = run(job, job, markers=["qr1a", "qr1b"])
    again = run(job, markers=["qr1a"])

    assert first[0].results == again[0].results
    assert first[0].results != first[1].results
    assert set(first[0].status.provided["libraries"]) == {"pulser-core", "pulser-simulation"}


def test_several_sequences_come_back_as_parts() -> None:
    found = results(text("rabi.json"), text("rabi.json"), device="pulser", kind="multi", params={"omega": math.pi})

    assert [set(part["counts"]) for part in found["parts"]] == [{"11"}, {"11"}]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, 'variable "omega" has no value; give it under params: omega'),
        ({"omega": "x"}, 'params.omega is "x"; a number is needed'),
        ({"omega": [1, 2]}, "params.omega is [1, 2]; a number is needed"),
        ({"omega": True}, "params.omega is true; a number is needed"),
        ({"omega": 1, "phi": 2}, "params.phi is not a variable of the sequence; its variables are omega"),
    ],
)
def test_a_wrong_variable_is_named(params: dict[str, object], message: str) -> None:
    found = failure(text("rabi.json"), device="pulser", params=params, path="programs/rabi.json")

    assert found == f"programs/rabi.json: {message} (device pulser)"


def test_what_is_no_sequence_is_named_with_its_place() -> None:
    assert failure('{\n  "a" 1}', device="pulser", path="a.json") == (
        "a.json:2:7: the program is not JSON: expecting ':' delimiter (device pulser)"
    )
    assert failure("[]", device="pulser", path="a.json") == (
        "a.json:1:1: the program is not a sequence in Pulser's abstract representation (device pulser)"
    )


def test_too_many_atoms_are_refused() -> None:
    sequence = json.loads(text("rabi.json"))
    sequence["register"] = [{"name": f"q{place}", "x": 0.0, "y": 50.0 * place} for place in range(30)]

    (outcome,) = run(ask(json.dumps(sequence), device="pulser", params={"omega": 1.0}), memory="1 GiB")

    assert outcome.status.message == (
        "programs/x.qasm: 30 atoms need about 608 GiB, and a worker may take 1 GiB; "
        "use fewer atoms, or raise memory in the connection (device pulser)"
    )


def test_nothing_is_used_that_pulser_is_about_to_give_up() -> None:
    modules = "qrun.providers.local.pulses, qrun.emulators.pasqal.physics"

    found = subprocess.run(
        [sys.executable, "-W", "error::DeprecationWarning", "-c", f"import {modules}"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (found.returncode, found.stderr) == (0, "")
