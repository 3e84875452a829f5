"""oqtopus-client: what the cloud says of devices, of the account and its token; and how the client is told of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import Emulator
from tests.official.surface import runs

oqtopus = pytest.importorskip("oqtopus_client", reason="the official clients are not installed")

Client = oqtopus.OqtopusClient
Config = oqtopus.OqtopusConfig


@runs(Client.list_devices, oqtopus.OqtopusDevice)
def test_devices_are_listed_with_all_their_facts(client: Any) -> None:
    devices = {device.device_id: device for device in client.list_devices()}

    assert set(devices) == {"qulacs", "qpu", "down"}
    simulator, chip, down = devices["qulacs"], devices["qpu"], devices["down"]
    assert (simulator.device_type, simulator.status, simulator.n_pending_jobs) == ("simulator", "available", 0)
    assert (simulator.available_at, simulator.calibrated_at) == (None, None)
    assert "cx" in simulator.basis_gates
    assert "measure" in simulator.supported_instructions
    assert simulator.description
    assert isinstance(simulator.device_info, dict)
    assert (chip.device_type, chip.n_qubits) == ("QPU", 8)
    assert chip.calibrated_at < datetime.now(UTC)
    assert (down.status, down.n_qubits, down.device_info) == ("unavailable", None, None)
    assert down.available_at > datetime.now(UTC)


@runs(Client.get_device)
def test_the_calibration_of_a_chip_is_read_from_its_archive(client: Any) -> None:
    chip = client.get_device("qpu")

    assert [qubit["id"] for qubit in chip.device_info["qubits"]] == list(range(8))
    assert all(0 < qubit["meas_error"]["prob_meas1_prep0"] < 0.1 for qubit in chip.device_info["qubits"])
    assert len(chip.device_info["couplings"]) == 8


@pytest.mark.parametrize(("device", "status"), [("nowhere", 404), ("private", 403)])
def test_a_device_that_one_may_not_see_is_refused(client: Any, device: str, status: int) -> None:
    with pytest.raises(oqtopus.UserApiError) as caught:
        client.get_device(device)

    assert caught.value.status_code == status


def test_a_device_counts_the_jobs_that_wait_for_it(slow: Emulator) -> None:
    client = Client(Config(slow.url, slow.token))
    before = client.get_device("qpu").n_pending_jobs

    client.submit_job(oqtopus.OqtopusJobSpec.sampling(device_id="qpu", program="OPENQASM 3.0;"))

    assert client.get_device("qpu").n_pending_jobs == before + 1


@runs(Client.get_announcements_list, Client.get_announcement)
def test_announcements_are_listed_and_read_one_by_one(client: Any) -> None:
    listed = client.get_announcements_list().announcements

    assert listed
    assert [client.get_announcement(each.id) for each in listed] == listed
    assert all(each.start_time < each.end_time and each.title and each.publishable for each in listed)
    with pytest.raises(oqtopus.UserApiError, match="HTTP 404"):
        client.get_announcement(10_000)


@runs(Client.get_api_token_status, Client.get_api_token, Client.create_api_token, Client.delete_api_token)
def test_a_token_tells_its_end_makes_no_other_and_can_be_taken_back(client: Any) -> None:
    assert client.get_api_token_status().api_token_expiration > datetime.now(UTC)
    assert client.get_api_token() == client.get_api_token_status()
    with pytest.warns(DeprecationWarning, match="create_api_token"), pytest.raises(oqtopus.UserApiError) as caught:
        client.create_api_token()
    assert caught.value.status_code == 403

    client.delete_api_token()

    with pytest.raises(oqtopus.UserApiError, match="HTTP 401"):
        client.get_api_token_status()


@pytest.mark.parametrize("token", [None, "nobody.nothing"])
def test_nothing_is_said_to_somebody_unknown(cloud: Emulator, token: str | None) -> None:
    with pytest.raises(oqtopus.UserApiError, match="HTTP 401"):
        Client(Config(cloud.url, token)).list_devices()


# --- how the client is told where the cloud is ------------------------------------------------------------------------


@runs(Config.from_env)
def test_the_environment_names_the_cloud(cloud: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OQTOPUS_URL", cloud.url + "/")
    monkeypatch.setenv("OQTOPUS_API_TOKEN", cloud.token)
    monkeypatch.setenv("OQTOPUS_BASE_URL", "http://127.0.0.1:9")

    assert Client(Config.from_env()).list_jobs() == []


@runs(Client.base_url, Config.base_url)
def test_the_older_name_of_the_url_is_taken_too(cloud: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OQTOPUS_BASE_URL", cloud.url)

    config = Config.from_env()

    assert config.base_url == Client(config).base_url == cloud.url
    assert config.api_token is None


@runs(Config.from_file)
def test_a_file_names_the_cloud_by_section(cloud: Emulator, home: Path) -> None:
    file = home / ".config" / "oqtopus" / "config.ini"
    file.parent.mkdir(parents=True)
    file.write_text(
        f"[default]\nurl={cloud.url}\napi_token={cloud.token}\n[other]\nbase_url=http://127.0.0.1:9\ntimeout=3\n"
    )

    other = Config.from_file("other")

    assert Client().list_jobs() == []
    assert (other.url, other.api_token, other.timeout) == ("http://127.0.0.1:9", None, 3.0)
    with pytest.raises(ValueError, match="absent"):
        Config.from_file("absent")


def test_a_file_elsewhere_is_found_by_its_path_with_variables(
    cloud: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clouds.ini").write_text(f"[mine]\nurl={cloud.url}\napi_token={cloud.token}\n")
    monkeypatch.setenv("CLOUDS", str(tmp_path))

    assert Client(Config.from_file("mine", "$CLOUDS/clouds.ini")).list_jobs() == []
