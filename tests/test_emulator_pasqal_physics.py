"""The stand-in of Pasqal Cloud with its real simulator: what atoms do, and how fast it is told.

Left out where Pulser is not installed; `make official-pasqal` runs them.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrun.emulators.pasqal.devices import specs
from tests.emulator import ROOT
from tests.emulator_pasqal import FIXED, PARAMETRIZED, Cloud, apart, sequence, stand_in, start

pulser = pytest.importorskip("pulser", reason="the extra pulser is not installed")
pytest.importorskip("pulser_simulation", reason="the extra pulser is not installed")

RUNS = 1000


@pytest.fixture(scope="module")
def real() -> Iterator[Cloud]:
    with stand_in("--seed", "7") as cloud:
        yield cloud


def ran(cloud: Cloud, jobs: list[dict[str, Any]], **given: Any) -> list[dict[str, Any]]:
    """The results of a batch's jobs."""
    made = cloud.create(jobs=jobs, **given)
    cloud.at(made["id"])
    assert set(cloud.words(made["id"])) == {"DONE"}, cloud.jobs(made["id"])
    return [cloud.result(job["id"]) for job in made["jobs"]]


def share(counter: dict[str, int], place: int) -> float:
    """How often an atom is found excited."""
    return sum(count for bits, count in counter.items() if bits[place] == "1") / sum(counter.values())


def near(measured: float, expected: float, runs: int = RUNS) -> bool:
    """Within five standard deviations of so many runs."""
    return abs(measured - expected) <= 5 * math.sqrt(expected * (1 - expected) / runs) + 1 / runs


def test_a_sweep_of_many_pulses_follows_rabis_curve(real: Cloud) -> None:
    """500 points in one batch: an atom that is driven for a microsecond is turned by the angle omega."""
    omegas = [4 * math.pi * place / 499 for place in range(500)]
    jobs = [{"runs": 100, "variables": {"omega": omega}} for omega in omegas]

    made = real.create(jobs=jobs)
    real.at(made["id"])
    found = real.get("GET", f"/api/v1/batches/{made['id']}/full_results")

    off = [
        omega
        for omega, job in zip(omegas, made["jobs"], strict=True)
        for place in (0, 1)
        if not near(share(found[job["id"]]["counter"], place), math.sin(omega / 2) ** 2, 100)
    ]
    assert off == []


def test_atoms_that_are_close_block_each_other(real: Cloud) -> None:
    """Together they are driven as one atom, by a field that is stronger by the root of two."""
    (result,) = ran(real, [{"runs": RUNS, "variables": {"omega": math.pi / math.sqrt(2)}}], sequence_builder=apart(4.0))

    counter = result["counter"]

    assert counter.get("11", 0) <= 5
    assert near(counter.get("01", 0) / RUNS, 0.5)
    assert near(counter.get("10", 0) / RUNS, 0.5)


def test_bits_are_in_the_order_of_the_register(real: Cloud) -> None:
    places = [{"name": name, "x": 0.0, "y": y} for name, y in (("a", 0.0), ("b", 4.0), ("c", 80.0))]
    text = json.dumps(json.loads(FIXED) | {"register": places})

    (result,) = ran(real, [{"runs": RUNS}], sequence_builder=text)

    assert near(share(result["counter"], 2), 1.0)
    assert {bits[:2] for bits in result["counter"]} <= {"00", "01", "10"}


def test_runs_are_told_one_by_one_too(real: Cloud) -> None:
    (result,) = ran(real, [{"runs": 50, "variables": {"omega": 1.5}}])

    assert len(result["raw"]) == 50
    assert {bits: result["raw"].count(bits) for bits in set(result["raw"])} == result["counter"]


def test_pulser_reads_its_own_form_of_a_result(real: Cloud) -> None:
    from pulser.backend import BitStrings, EmulationConfig, Results
    from pulser.backend.default_observables import Occupation

    config = EmulationConfig(observables=[BitStrings(), Occupation()], num_gpus_to_use=1)
    (result,) = ran(
        real,
        [{"runs": RUNS}],
        sequence_builder=FIXED,
        device_type="EMU_MPS",
        backend_configuration=config.to_abstract_repr(),
    )

    found = Results.from_abstract_repr(result["serialised_results"])

    assert dict(found.final_bitstrings) == result["counter"] == {"11": RUNS}
    assert [round(float(value), 3) for value in found.occupation[-1]] == [1.0, 1.0]


def test_a_configuration_without_bit_strings_still_has_a_counter(real: Cloud) -> None:
    from pulser.backend import EmulationConfig
    from pulser.backend.default_observables import Occupation

    config = EmulationConfig(observables=[Occupation()])
    (result,) = ran(
        real, [{}], sequence_builder=FIXED, device_type="EMU_SV", backend_configuration=config.to_abstract_repr()
    )

    assert result["counter"] == {"11": 1000}


def test_noise_flips_some_of_what_is_measured(real: Cloud) -> None:
    (clean,) = ran(real, [{"runs": RUNS}], sequence_builder=FIXED)
    (noisy,) = ran(real, [{"runs": RUNS}], sequence_builder=FIXED, configuration={"with_noise": True})

    assert clean["counter"] == {"11": RUNS}
    assert 0 < noisy["counter"].get("11", 0) < RUNS


def test_the_places_of_a_register_may_be_chosen_by_a_job(real: Cloud) -> None:
    layout = {"coordinates": [[0.0, 0.0], [0.0, 4.0], [0.0, 80.0], [80.0, 0.0]], "slug": "four"}
    text = sequence(math.pi, {}, register=[{"qid": "a"}, {"qid": "b"}], layout=layout)
    jobs = [{"runs": RUNS, "variables": {"qubits": {"a": 0, "b": trap}}} for trap in (1, 2)]

    close, far = ran(real, jobs, sequence_builder=text)

    assert close["counter"].get("11", 0) <= 5
    assert far["counter"] == {"11": RUNS}


def test_a_qpu_runs_what_its_specs_allow(real: Cloud) -> None:
    def written_for(name: str) -> str:
        device = json.loads(specs()["FRESNEL"]) | {"name": name, "version": "1"}
        return json.dumps(json.loads(PARAMETRIZED) | {"device": device, "register": atoms})

    atoms = [{"name": "a", "x": -20.0, "y": 0.0}, {"name": "b", "x": 20.0, "y": 0.0}]
    jobs = [{"runs": RUNS, "variables": {"omega": omega}} for omega in (math.pi, 13.0)]
    made = real.create(sequence_builder=written_for("FRESNEL"), device_type=None, jobs=jobs)
    real.at(made["id"])
    good, strong = real.jobs(made["id"])

    assert made["device_type"] == "FRESNEL"
    assert (good["status"], strong["status"]) == ("DONE", "ERROR")
    assert "amplitude" in strong["errors"][0]
    assert near(share(real.result(good["id"])["counter"], 0), 1.0)


def test_what_pulser_refuses_fails_one_job(real: Cloud) -> None:
    text = json.dumps(json.loads(FIXED) | {"operations": [{"op": "dance"}]})
    made = real.create(jobs=[{"runs": 10, "sequence": text}, {"runs": 10, "sequence": FIXED}], sequence_builder=None)
    real.at(made["id"])

    bad, good = real.jobs(made["id"])

    assert (bad["status"], good["status"]) == ("ERROR", "DONE")
    assert bad["errors"][0]


@pytest.mark.parametrize("name", list(specs()))
def test_pulser_reads_the_specs_of_every_device(name: str) -> None:
    from pulser.json.abstract_repr.deserializer import deserialize_device

    device = deserialize_device(specs()[name])

    assert (device.name, device.max_runs is not None) == (name, True)


def test_the_same_seed_gives_the_same_results() -> None:
    def counters() -> list[dict[str, int]]:
        jobs = [{"runs": 100, "variables": {"omega": omega}} for omega in (1.0, 2.0, 3.0)]
        with stand_in("--seed", "11", "--workers", "1") as cloud:
            return [result["counter"] for result in ran(cloud, jobs)]

    assert counters() == counters()


# --- as a command -----------------------------------------------------------------------------------------------------


def test_it_prints_where_it_is_and_env_what_to_export(tmp_path: Path) -> None:
    process, line = start(str(tmp_path), "--account", "me=id.secret")
    try:
        found = subprocess.run(
            [sys.executable, "-m", "qrun", "emulator", "env", "pasqal"],
            cwd=ROOT,
            env={"HOME": str(tmp_path), "PATH": os.environ.get("PATH", "")},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        process.terminate()
        process.communicate(timeout=30)

    base = line["url"]
    assert line["core"] == f"{base}/core-fast"
    assert line["account"] == f"{base}/account"
    assert line["token_url"] == f"{base}/oauth/token"
    assert (line["username"], line["client_id"], line["client_secret"]) == ("me", "id", "secret")
    assert found.stdout.split() == [
        "export",
        f"PASQAL_CORE_URL={base}/core-fast",
        f"PASQAL_ACCOUNT_URL={base}/account",
        f"PASQAL_TOKEN_URL={base}/oauth/token",
        "PASQAL_USERNAME=me",
        "PASQAL_PASSWORD=id.secret",
        "PASQAL_CLIENT_ID=id",
        "PASQAL_CLIENT_SECRET=secret",
        f"PASQAL_PROJECT_ID={line['project_id']}",
        "PASQAL_PULSER_ACCESS_TOKEN=id.secret",
    ]
