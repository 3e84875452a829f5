"""quri-parts-oqtopus: circuits and operators of QURI Parts, run on the emulator."""

from __future__ import annotations

import importlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import Emulator
from tests.official.programs import COIN, ONE, PAIR, even
from tests.official.surface import runs

quri = pytest.importorskip("quri_parts_oqtopus.backend", reason="the official clients are not installed")
models = pytest.importorskip("quri_parts_oqtopus.models.jobs.base")
utils = pytest.importorskip("quri_parts_oqtopus.models.utils")
circuit = pytest.importorskip("quri_parts.circuit")
operator = pytest.importorskip("quri_parts.core.operator")
backend_error = pytest.importorskip("quri_parts.backend").BackendError
unreachable = pytest.importorskip("aiohttp").ClientProxyConnectionError

Config = quri.OqtopusConfig
JobBase = models.OqtopusJobBase
SOON = 0.02


def pair() -> Any:
    made = circuit.QuantumCircuit(2)
    made.add_H_gate(0)
    made.add_CNOT_gate(0, 1)
    return made


def sampling(account: Emulator) -> Any:
    return quri.OqtopusSamplingBackend(Config(account.url, account.token))


def estimation(account: Emulator) -> Any:
    return quri.OqtopusEstimationBackend(Config(account.url, account.token))


def sampler(url: str, token: str) -> Any:
    """The module, imported anew: it reads the environment when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OQTOPUS_URL", url)
        patch.setenv("OQTOPUS_API_TOKEN", token)
        patch.delitem(sys.modules, "quri_parts_oqtopus.sampler", raising=False)
        return importlib.import_module("quri_parts_oqtopus.sampler")


def halves(counts: Any, one: int, two: int, shots: int) -> bool:
    return even({str(key): count for key, count in counts.items()}, str(one), str(two), shots)


@runs(
    quri.OqtopusSamplingBackend.sample,
    quri.OqtopusSamplingBackend.sample_qasm,
    quri.OqtopusSamplingJob.result,
    quri.OqtopusSamplingResult,
    JobBase,
    JobBase.refresh,
    JobBase.to_json,
    JobBase.wait_for_completion,
    utils.DateTimeEncoder.default,
)
def test_a_circuit_is_sampled(cloud: Emulator) -> None:
    job = sampling(cloud).sample(pair(), device_id="qulacs", shots=1000, name="bell", description="a pair")

    job.wait_for_completion(wait=SOON)

    assert halves(job.result().counts, 0, 3, 1000)
    assert job.result().divided_counts is None
    job.refresh()
    told = json.loads(job.to_json())
    assert (job.name, job.description, job.device_id, job.shots) == ("bell", "a pair", "qulacs", 1000)
    assert (job.job_type, job.status) == ("sampling", "succeeded")
    assert job.submitted_at <= job.ready_at <= job.running_at <= job.ended_at
    assert job.execution_time >= 0
    assert job.transpiler_info["transpiler_lib"] == "qiskit"
    assert (job.simulator_info, job.mitigation_info) == ({}, {})
    assert job.job_info["result"]["sampling"]["counts"]
    assert (told["job_id"], told["ended_at"]) == (job.job_id, job.ended_at.isoformat())
    assert job.job_id in repr(job)


def test_a_program_of_ones_own_is_sampled_as_it_is(cloud: Emulator) -> None:
    job = sampling(cloud).sample_qasm(ONE, device_id="qpu", shots=100, transpiler_info={"transpiler_lib": None})

    assert job.result(wait=SOON).counts == {1: 100}
    assert job.transpiler_info == {"transpiler_lib": None}


def test_several_circuits_are_sampled_side_by_side(cloud: Emulator) -> None:
    one = circuit.QuantumCircuit(1)
    one.add_X_gate(0)

    result = sampling(cloud).sample([one, pair()], device_id="qulacs", shots=1000).result(wait=SOON)

    assert halves(result.counts, 1, 7, 1000)
    assert result.divided_counts[0] == {1: 1000}
    assert halves(result.divided_counts[1], 0, 3, 1000)


@runs(
    quri.OqtopusEstimationBackend.estimate,
    quri.OqtopusEstimationBackend.estimate_qasm,
    quri.OqtopusEstimationJob.result,
    quri.OqtopusEstimationResult,
)
def test_an_operator_is_estimated(cloud: Emulator) -> None:
    terms = {operator.pauli_label("X0 X1"): 1.5, operator.pauli_label("Y0 Y1"): 0.5, operator.PAULI_IDENTITY: 2.0}

    job = estimation(cloud).estimate(pair(), operator.Operator(terms), device_id="qulacs", shots=1000)

    found = job.result(wait=SOON)
    assert found.exp_value == pytest.approx(1.5 - 0.5 + 2.0, abs=1e-9)
    assert found.stds == pytest.approx(0, abs=1e-6)
    assert job.job_id in repr(job)


def test_a_program_of_ones_own_is_estimated_with_several_terms(cloud: Emulator) -> None:
    given = operator.Operator({operator.pauli_label("Z0 Z1"): 1 + 0j, operator.pauli_label("X1 X0"): 0.25})

    found = estimation(cloud).estimate_qasm(PAIR, given, device_id="qulacs", shots=100).result(wait=SOON)

    assert found.exp_value == pytest.approx(1.25, abs=1e-9)


@runs(quri.OqtopusJobBackendBase.retrieve_job)
def test_jobs_of_each_type_are_retrieved_by_their_id(cloud: Emulator) -> None:
    one = sampling(cloud).sample_qasm(COIN, device_id="qulacs", shots=100)
    several = sampling(cloud).sample_qasm([ONE, COIN], device_id="qulacs", shots=100)
    given = operator.Operator({operator.pauli_label("Z0"): 1.0})
    estimated = estimation(cloud).estimate_qasm(PAIR, given, device_id="qulacs", shots=100)

    found = [sampling(cloud).retrieve_job(job.job_id) for job in (one, several, estimated)]

    assert [job.job_type for job in found] == ["sampling", "multi_manual", "estimation"]
    assert found[1].result(wait=SOON).divided_counts[0] == {1: 100}
    assert isinstance(found[2], quri.OqtopusEstimationJob)
    with pytest.raises(backend_error):
        sampling(cloud).retrieve_job("nobody")


@runs(JobBase.cancel)
def test_a_job_that_waits_is_cancelled(slow: Emulator) -> None:
    job = sampling(slow).sample(pair(), device_id="qulacs", shots=10)

    job.cancel()

    assert job.status == "cancelled"
    with pytest.raises(backend_error, match="cancelled"):
        job.result()
    assert slow.books()["starts"] == 0


def test_a_wait_that_is_too_short_ends_without_the_job(slow: Emulator) -> None:
    job = sampling(slow).sample(pair(), device_id="qulacs", shots=10)

    assert job.wait_for_completion(timeout=0, wait=SOON) is None
    with pytest.raises(backend_error, match="Timeout"):
        job.result(timeout=0, wait=SOON)


def test_what_the_cloud_refuses_is_an_error_of_the_backend(cloud: Emulator) -> None:
    with pytest.raises(backend_error):
        sampling(cloud).sample(pair(), device_id="nowhere", shots=10)


@runs(
    quri.OqtopusDeviceBackend.get_devices,
    quri.OqtopusDeviceBackend.get_device,
    quri.OqtopusDevice,
    quri.OqtopusDevice.refresh,
    quri.OqtopusDevice.to_json,
)
def test_devices_are_shown_with_all_their_facts(cloud: Emulator) -> None:
    backend = quri.OqtopusDeviceBackend(Config(cloud.url, cloud.token))

    devices = {device.device_id: device for device in backend.get_devices()}
    chip = backend.get_device("qpu")

    chip.refresh()
    told = json.loads(chip.to_json())
    assert set(devices) == {"qulacs", "qpu", "down"}
    assert (chip.device_type, chip.status, chip.n_qubits, chip.n_pending_jobs) == ("QPU", "available", 8, 0)
    assert chip.calibrated_at < datetime.now(UTC)
    assert "sx" in chip.basis_gates
    assert "measure" in chip.supported_instructions
    assert len(chip.device_info["qubits"]) == 8
    assert told["description"] == chip.description
    assert told["calibrated_at"] == chip.calibrated_at.isoformat()
    assert (devices["qulacs"].available_at, devices["down"].device_info) == (None, {})


@runs(
    pytest.importorskip("quri_parts_oqtopus.backend.config").OqtopusConfig,
)
def test_settings_are_kept_as_they_were_given() -> None:
    config = Config("http://127.0.0.1:9", "nobody.nothing", "http://127.0.0.1:8")

    assert (config.url, config.api_token, config.proxy) == (
        "http://127.0.0.1:9",
        "nobody.nothing",
        "http://127.0.0.1:8",
    )


@runs(Config.from_file)
def test_the_file_is_read_unless_the_environment_has_url_and_token(
    cloud: Emulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".oqtopus").write_text(
        f"[default]\nurl={cloud.url}\napi_token={cloud.token}\n[other]\nurl=http://127.0.0.1:9\napi_token=a.b\n"
    )
    monkeypatch.setenv("OQTOPUS_URL", "http://127.0.0.1:9")

    assert quri.OqtopusDeviceBackend().get_devices()  # a URL without a token does not count

    monkeypatch.setenv("OQTOPUS_API_TOKEN", "nobody.nothing")
    assert quri.OqtopusDeviceBackend().config.url == "http://127.0.0.1:9"
    assert quri.OqtopusDeviceBackend(Config.from_file("default")).get_devices()
    assert Config.from_file("other").api_token == "a.b"
    with pytest.raises(KeyError):
        Config.from_file("absent")


def test_a_proxy_of_the_environment_is_the_last_resort(
    cloud: Emulator, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".oqtopus").write_text(f"[default]\nurl={cloud.url}\napi_token={cloud.token}\n")
    monkeypatch.setenv("OQTOPUS_PROXY", "http://127.0.0.1:9")

    with pytest.raises(unreachable, match=r"127\.0\.0\.1:9"):
        quri.OqtopusDeviceBackend().get_devices()


@runs(sampler("http://127.0.0.1:9", "nobody.nothing").create_oqtopus_concurrent_sampler)
def test_a_sampler_of_several_circuits_asks_the_cloud_of_its_environment(cloud: Emulator) -> None:
    made = sampler(cloud.url, cloud.token).create_oqtopus_concurrent_sampler
    asked = [(pair(), "qulacs", 1000), (circuit.QuantumCircuit(2, gates=[circuit.X(1)]), "qulacs", 100)]

    alone = list(made()(asked))
    with ThreadPoolExecutor(max_workers=2) as executor:
        together = list(made(executor, concurrency=2)(asked))

    for found in (alone, together):
        assert halves(found[0], 0, 3, 1000)
        assert found[1] == {2: 100}
