"""Both clients: a Python program runs beside the device, submits jobs there itself, and what it prints is kept."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import Emulator
from tests.official.conftest import connected
from tests.official.programs import BELL, FAILING, PAIR, SCRIPT, even
from tests.official.surface import runs

oqtopus = pytest.importorskip("oqtopus_client", reason="the official clients are not installed")
quri = pytest.importorskip("quri_parts_oqtopus.backend")
backend_error = pytest.importorskip("quri_parts.backend").BackendError

Client = oqtopus.OqtopusClient
Spec = oqtopus.OqtopusJobSpec
SseResult = oqtopus.OqtopusSseJobResult
SOON = 0.05

WITH_THE_CLIENT = f"""\
from oqtopus_client import OqtopusClient, OqtopusConfig, OqtopusJobSpec

client = OqtopusClient(OqtopusConfig.from_file())
job = client.run_job(OqtopusJobSpec.sampling(device_id="qulacs", program={BELL!r}, shots=1000))
print(sorted(job.get_counts()))
job = client.run_estimation(
    OqtopusJobSpec.estimation(
        device_id="qulacs", program={PAIR!r}, shots=1000, operator=[{{"pauli": "X 0 X 1", "coeff": 0.5}}]
    )
)
print(round(job.exp_value, 6))
"""
WITH_QURI_PARTS = f"""\
from quri_parts_oqtopus.backend import OqtopusConfig, OqtopusSamplingBackend

backend = OqtopusSamplingBackend(OqtopusConfig.from_file())
counts = backend.sample_qasm({BELL!r}, device_id="qulacs", shots=1000).result().counts
print(sorted(counts))
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(SCRIPT)
    return path


@runs(
    Client.run_sse,
    Client.get_sselog,
    Spec.sse,
    SseResult.get_job_result,
    SseResult.read_log_text,
    SseResult.show_log,
    SseResult.download_log,
)
def test_the_last_job_of_a_program_is_its_result_and_what_it_prints_its_log(client: Any, tmp_path: Path) -> None:
    job = client.run_sse(Spec.sse(device_id="qulacs", program=SCRIPT, shots=1), interval=SOON)

    inner = job.get_job_result()
    shown: list[str] = []
    saved = Path(job.download_log(save_dir=tmp_path, persist=True))
    assert job.is_sse()
    assert inner.is_sse()  # it keeps the type of the job around it, under the class of the one within
    assert isinstance(inner, oqtopus.OqtopusSamplingJobResult)
    assert even(inner.get_counts(), "00", "11", 1000)
    lines = job.read_log_text().splitlines()
    assert lines[0].startswith("===== ")
    assert (lines[1], lines[-1]) == ("before", "after")
    assert job.show_log(print_fn=shown.append) == shown[0] == job.read_log_text()
    assert saved.name == f"sselog_{job.job_id}.log"
    assert saved.read_bytes() == job.download_log()
    with zipfile.ZipFile(io.BytesIO(saved.read_bytes())) as archive:
        assert len(archive.namelist()) == 1


@runs(Client.run_sse_file)
def test_a_program_is_read_from_a_file(client: Any, script: Path) -> None:
    job = client.run_sse_file(file_path=script, device_id="qulacs", name="mine", interval=SOON)

    assert (job.name, job.shots, job.status.value) == ("mine", 1, "succeeded")
    assert job.job_info.input.sse_program == SCRIPT


def test_a_program_that_fails_leaves_neither_result_nor_log(client: Any) -> None:
    job = client.run_sse(Spec.sse(device_id="qulacs", program=FAILING), interval=SOON)

    assert (job.status.value, job.sampling, job.estimation) == ("failed", None, None)
    assert "no luck today" in job.message
    with pytest.raises(oqtopus.ResponseValidationError, match="not available"):
        client.get_sselog(job.job_id)


@pytest.mark.parametrize(
    ("program", "printed"),
    [(WITH_THE_CLIENT, ["['00', '11']", "0.5"]), (WITH_QURI_PARTS, ["[0, 3]"])],
    ids=["oqtopus-client", "quri-parts-oqtopus"],
)
def test_the_official_clients_work_inside_as_well(client: Any, program: str, printed: list[str]) -> None:
    job = client.run_sse(Spec.sse(device_id="qulacs", program=program), interval=SOON)

    assert job.status.value == "succeeded", job.message
    assert job.read_log_text().splitlines()[1:] == printed


@runs(
    quri.OqtopusSseBackend.run_sse,
    quri.OqtopusSseBackend.download_log,
    quri.OqtopusSseJob.result,
    quri.OqtopusSseJob.download_log,
    quri.OqtopusJobBackendBase.retrieve_job,
)
def test_quri_parts_runs_a_program_and_saves_its_log(cloud: Emulator, script: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "logs").mkdir()
    backend = quri.OqtopusSseBackend(quri.OqtopusConfig(cloud.url, cloud.token))

    job = backend.run_sse(str(script), device_id="qulacs", name="mine")

    counts = job.result(wait=SOON).counts
    saved = Path(job.download_log(save_dir=str(folder)))
    assert even({str(key): count for key, count in counts.items()}, "0", "3", 1000)
    assert saved == folder / f"sselog_{job.job_id}.log"
    with zipfile.ZipFile(saved) as archive:
        assert archive.read(archive.namelist()[0]).decode().startswith("before\n")
    with pytest.raises(ValueError, match="already exists"):
        job.download_log(save_dir=str(folder))
    saved.unlink()
    with pytest.warns(DeprecationWarning, match="download_log"):
        backend.download_log(save_dir=str(folder))
    assert isinstance(backend.retrieve_job(job.job_id), quri.OqtopusSseJob)


def test_quri_parts_has_no_log_of_a_program_that_waits(slow: Emulator, script: Path) -> None:
    backend = quri.OqtopusSseBackend(quri.OqtopusConfig(slow.url, slow.token))
    job = backend.run_sse(str(script), device_id="qulacs", name="mine")

    with pytest.raises(backend_error):
        job.download_log()

    assert connected(slow).status(job.job_id) == "submitted"
