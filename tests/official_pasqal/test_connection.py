"""Pulser's own way to the cloud: connections and remote backends, with sequences that are written in Python."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import pytest

from tests.emulator_pasqal import Cloud
from tests.official.surface import runs
from tests.official_pasqal.conftest import by_pulser, where

package = pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

# the client itself makes objects of a class that Pulser gives up
pytestmark = pytest.mark.filterwarnings("ignore:The 'SampledResult' class:DeprecationWarning")

pulser, backend = import_module("pulser"), import_module("pulser.backend")
PasqalCloudConnection, OVHConnection = package.PasqalCloudConnection, package.OVHConnection
RemoteEmuFreeBackend, RemoteMPSBackend = package.RemoteEmuFreeBackend, package.RemoteMPSBackend
RemoteSVBackend, RemoteEmulatorBackend = package.RemoteSVBackend, package.backends.RemoteEmulatorBackend


@pytest.fixture
def connection(cloud: Cloud) -> Any:
    return by_pulser(cloud)


def written(device: Any = None) -> Any:
    """A pulse of one microsecond on two atoms that are far apart, with the angle left open."""
    sequence = pulser.Sequence(pulser.Register({"a": (-20.0, 0.0), "b": (20.0, 0.0)}), device or pulser.MockDevice)
    sequence.declare_channel("laser", "rydberg_global")
    omega = sequence.declare_variable("omega")
    sequence.add(pulser.Pulse.ConstantPulse(1000, omega, 0.0, 0.0), "laser")
    sequence.measure("ground-rydberg")
    return sequence


JOBS: list[dict[str, Any]] = [{"runs": 20, "variables": {"omega": math.pi}}, {"runs": 30, "variables": {"omega": 0.0}}]


@runs(PasqalCloudConnection.submit, PasqalCloudConnection.get_results)
def test_a_sequence_is_submitted_and_its_results_come_in_order(connection: Any) -> None:
    remote = connection.submit(written(), job_params=JOBS, wait=True, device_type="EMU_FREE")

    again = connection.get_results(remote.batch_id, remote.job_ids[::-1])

    assert [dict(result.bitstring_counts) for result in remote.results] == [{"11": 20}, {"00": 30}]
    assert [dict(result.bitstring_counts) for result in again.results] == [{"00": 30}, {"11": 20}]
    assert remote.get_batch_status().name == "DONE"


@runs(PasqalCloudConnection.supports_open_batch)
def test_an_open_batch_takes_more_and_is_closed_at_the_end(connection: Any, cloud: Cloud) -> None:
    remote = RemoteEmuFreeBackend(written(), connection)
    with remote.open_batch():
        first = remote.run(JOBS[:1], wait=True)
        second = remote.run(JOBS[1:], wait=True)

    (batch,) = cloud.books()["batches"]
    assert connection.supports_open_batch()
    assert (batch["status"], batch["open"], len(batch["jobs"])) == ("DONE", False, 2)
    assert [dict(each.results[0].final_bitstrings) for each in (first, second)] == [{"11": 20}, {"00": 30}]


@runs(RemoteEmulatorBackend.run, RemoteEmulatorBackend.__init__)
@pytest.mark.parametrize("kind", [RemoteEmuFreeBackend, RemoteSVBackend, RemoteMPSBackend])
def test_each_emulator_gives_results_that_pulser_reads(connection: Any, kind: Any) -> None:
    sequence = written().build(omega=math.pi)
    config = backend.EmulationConfig(observables=[backend.BitStrings(num_shots=40)])

    (result,) = kind(sequence, connection, config=config).run(wait=True).results

    assert dict(result.final_bitstrings) == {"11": 40}
    assert tuple(result.atom_order) == ("a", "b")


@runs(PasqalCloudConnection.fetch_available_devices, PasqalCloudConnection.__init__)
def test_a_sequence_for_a_qpu_is_written_with_the_device_that_it_tells(cloud: Cloud) -> None:
    connection = by_pulser(cloud)
    device = connection.fetch_available_devices()["FRESNEL"]

    remote = backend.QPUBackend(written(device), connection).run(JOBS[:1], wait=True)

    (result,) = remote.results
    assert sum(result.bitstring_counts.values()) == 20
    assert result.bitstring_counts["11"] >= 15


@runs(OVHConnection.supports_open_batch, OVHConnection.__init__)
def test_customers_of_ovh_submit_with_a_token_of_their_own(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASQAL_PULSER_ACCESS_TOKEN", cloud.token)
    connection = OVHConnection(endpoints=where(cloud)["endpoints"])

    remote = connection.submit(written(), job_params=JOBS, wait=True, device_type="EMU_FREE")

    assert not connection.supports_open_batch()
    assert [dict(result.bitstring_counts) for result in remote.results] == [{"11": 20}, {"00": 30}]
