"""oqtopus-client: jobs are submitted, waited for, read, listed, cancelled and deleted."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.emulator import Emulator
from tests.official.conftest import connected
from tests.official.programs import BELL, BROKEN, COIN, ONE, PAIR, even
from tests.official.surface import runs

oqtopus = pytest.importorskip("oqtopus_client", reason="the official clients are not installed")
results = pytest.importorskip("oqtopus_client.services.job_results")
config = pytest.importorskip("oqtopus_client.services.config")

Client = oqtopus.OqtopusClient
Spec = oqtopus.OqtopusJobSpec
Result = oqtopus.OqtopusJobResult
Status = oqtopus.rest.JobsJobStatus
SOON = 0.02  # seconds between two questions


def bell(**changed: Any) -> Any:
    return Spec.sampling(**({"device_id": "qulacs", "program": BELL, "shots": 1000} | changed))


@runs(
    Client.run_sampling,
    Spec.sampling,
    Spec.to_model,
    Spec.to_s3_submit_job_info,
    Result.from_raw,
    Result,
    Result.is_sampling,
    Result.is_estimation,
    Result.is_multi_manual,
    Result.is_sse,
    oqtopus.OqtopusSamplingJobResult,
    oqtopus.OqtopusSamplingJobResult.get_counts,
    oqtopus.OqtopusSamplingJobResult.counts_with_integer_keys,
    oqtopus.convert_sampling_counts_to_int_keys,
    oqtopus.bitstring_dict_to_int_keys,
    oqtopus.bitstring_to_int,
)
def test_a_sampling_job_of_a_bell_pair_comes_back_whole(client: Any) -> None:
    begun = datetime.now(UTC) - timedelta(seconds=2)

    job = client.run_sampling(bell(name="bell", description="a pair"), interval=SOON)

    counts = job.get_counts()
    assert even(counts, "00", "11", 1000)
    assert job.counts_with_integer_keys() == {
        "counts": {0: counts["00"], 3: counts["11"]},
        "divided_counts": {},
    }
    assert job.sampling.counts == counts
    assert job.estimation is None
    assert (job.is_sampling(), job.is_estimation(), job.is_multi_manual(), job.is_sse()) == (True, False, False, False)
    assert (job.name, job.description, job.device_id, job.shots) == ("bell", "a pair", "qulacs", 1000)
    assert (job.job_type.value, job.status.value) == ("sampling", "succeeded")
    assert job.transpiler_info == {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 1}}
    assert (job.simulator_info, job.mitigation_info, job.message) == ({}, {}, None)
    assert begun <= job.submitted_at <= job.ready_at <= job.running_at <= job.ended_at
    assert job.execution_time >= 0
    assert job.job_info.input.program == [BELL]
    assert "OPENQASM 3" in job.transpile_result.transpiled_program
    assert job.transpile_result.virtual_physical_mapping["qubit_mapping"] == {"0": 0, "1": 1}
    assert job.job_id in repr(job)


@runs(
    Client.run_estimation,
    Spec.estimation,
    oqtopus.OqtopusEstimationJobResult,
    oqtopus.OqtopusEstimationJobResult.get_exp_value,
    oqtopus.OqtopusEstimationJobResult.get_stds,
    oqtopus.OqtopusEstimationOperator.to_model,
    oqtopus.OqtopusEstimationOperator.from_model,
)
def test_an_estimation_adds_up_its_terms(client: Any) -> None:
    terms = [oqtopus.OqtopusEstimationOperator("X 0 X 1", 1.5), oqtopus.OqtopusEstimationOperator("Z0 Z1", 0.25)]
    given = [terms[0], {"pauli": "Z0 Z1", "coeff": 0.25}, {"pauli": "I", "coeff": 2.0}, {"pauli": "Y 0 Y 1"}]

    job = client.run_estimation(
        Spec.estimation(device_id="qulacs", program=PAIR, shots=1000, operator=given), interval=SOON
    )

    assert math.isclose(job.get_exp_value(), 1.5 + 0.25 + 2.0 - 1.0, abs_tol=1e-9)
    assert job.get_stds() == pytest.approx(0, abs=1e-6)
    assert (job.exp_value, job.stds) == (job.get_exp_value(), job.get_stds())
    assert job.estimation.exp_value == job.exp_value
    assert oqtopus.OqtopusEstimationOperator.from_model(job.job_info.input.operator[0]) == terms[0]


def test_an_estimate_that_is_not_sharp_has_the_deviation_of_its_shots(client: Any) -> None:
    spec = Spec.estimation(device_id="qulacs", program=PAIR, shots=400, operator=[{"pauli": "Z 0", "coeff": 3.0}])

    job = client.run_estimation(spec, interval=SOON)

    assert job.stds == pytest.approx(3 / math.sqrt(400), rel=0.2)
    assert abs(job.exp_value) <= 5 * 3 / math.sqrt(400)


@runs(
    Client.run_multi_manual,
    Spec.multi_manual,
    oqtopus.OqtopusMultiManualJobResult.get_divided_counts,
)
def test_programs_that_run_side_by_side_have_counts_of_their_own(client: Any) -> None:
    job = client.run_multi_manual(Spec.multi_manual(device_id="qulacs", program=[ONE, COIN], shots=1000), interval=SOON)

    assert even(job.get_counts(), "001", "101", 1000)
    divided = job.get_divided_counts()
    assert divided["0"] == {1: 1000}
    assert even({str(key): count for key, count in divided["1"].items()}, "0", "1", 1000)
    assert job.counts_with_integer_keys()["divided_counts"][1] == divided["1"]
    assert job.is_multi_manual()
    assert isinstance(job.job_info.combined_program, str)
    assert "OPENQASM" in job.job_info.combined_program


@runs(Client.run_job)
def test_the_server_may_be_told_not_to_transpile(client: Any) -> None:
    seen: list[str] = []
    job = client.run_job(
        bell(transpiler_info={"transpiler_lib": None}, mitigation_info={"ro_error_mitigation": "pseudo_inverse"}),
        interval=SOON,
        interval_backoff=1.5,
        max_interval=0.1,
        timeout=60,
        on_status=lambda told: seen.append(told.status.value),
    )

    assert job.transpiler_info == {"transpiler_lib": None}
    assert job.transpile_result is None
    assert job.mitigation_info == {"ro_error_mitigation": "pseudo_inverse"}
    assert even(job.get_counts(), "00", "11", 1000)
    assert seen[-1] == "succeeded"


@runs(
    Client.submit_job,
    Client.wait_for_job,
    Client.wait,
    Client.get_job,
    Client.get_job_result,
    Client.result,
    Client.refresh,
    Client.get_job_status,
    Client.status,
    Client.is_finished,
)
def test_a_submitted_job_is_found_under_its_id_in_every_way(client: Any) -> None:
    job_id = client.submit_job(bell()).job_id

    done = client.wait_for_job(job_id, interval=SOON)

    assert even(done.get_counts(), "00", "11", 1000)
    again = [client.wait(job_id, interval=SOON), client.get_job(job_id), client.get_job_result(job_id)]
    again += [client.result(job_id), client.refresh(job_id)]
    assert [each.get_counts() for each in again] == [done.get_counts()] * 5
    assert client.get_job_status(job_id).to_dict() == {"job_id": job_id, "status": Status.SUCCEEDED}
    assert client.status(job_id) == Status.SUCCEEDED
    assert client.is_finished(job_id)


@runs(Client.submit_jobs, Client.wait_for_jobs)
def test_many_jobs_go_out_and_come_back_in_order(client: Any, cloud: Emulator) -> None:
    sent = client.submit_jobs([bell(shots=shots) for shots in range(1, 9)], max_workers=4)

    done = client.wait_for_jobs([job.job_id for job in sent], interval=SOON, max_workers=4)

    assert [sum(job.get_counts().values()) for job in done] == list(range(1, 9))
    assert cloud.books()["starts"] == 8


@runs(Client.submit_jobs_async, Client.wait_for_jobs_async)
def test_many_jobs_go_out_and_come_back_in_a_coroutine(client: Any) -> None:
    async def both() -> list[Any]:
        sent = await client.submit_jobs_async([bell(shots=shots) for shots in range(1, 5)])
        done: list[Any] = await client.wait_for_jobs_async([job.job_id for job in sent], interval=SOON)
        return done

    done = asyncio.run(both())

    assert [sum(job.get_counts().values()) for job in done] == [1, 2, 3, 4]


@runs(Client.run_jobs_batch)
def test_a_batch_is_submitted_and_waited_for_at_once(client: Any) -> None:
    done = client.run_jobs_batch([bell(), bell(program=COIN)], interval=SOON)

    assert even(done[0].get_counts(), "00", "11", 1000)
    assert even(done[1].get_counts(), "0", "1", 1000)


def test_a_program_that_the_transpiler_refuses_never_runs(client: Any, cloud: Emulator) -> None:
    job = client.run_sampling(bell(program=BROKEN), interval=SOON)

    assert job.status == Status.FAILED
    assert job.message
    assert (job.running_at, job.execution_time) == (None, None)
    assert job.get_counts() == {}
    assert cloud.books()["starts"] == 0


@runs(Client.cancel_job, Client.delete_job)
def test_a_job_that_waits_can_be_cancelled_and_then_deleted(slow: Emulator) -> None:
    client = connected(slow)
    job_id = client.submit_job(bell()).job_id
    assert client.status(job_id) == Status.SUBMITTED
    assert not client.is_finished(job_id)
    with pytest.raises(oqtopus.UserApiError, match="HTTP 400"):
        client.delete_job(job_id)

    told = client.cancel_job(job_id)

    assert told.message == "cancel request accepted"
    job = client.get_job(job_id)
    assert (job.status, job.ended_at) == (Status.CANCELLED, None)
    assert client.cancel_job(job_id).message == "cancel request accepted"
    assert client.delete_job(job_id).message == "job deleted"
    with pytest.raises(oqtopus.UserApiError, match="HTTP 404"):
        client.status(job_id)
    assert slow.books()["starts"] == 0


def test_a_finished_job_cannot_be_cancelled(client: Any) -> None:
    job = client.run_sampling(bell(), interval=SOON)

    with pytest.raises(oqtopus.UserApiError, match="HTTP 400"):
        client.cancel_job(job.job_id)


def test_a_wait_that_is_too_short_says_so(slow: Emulator) -> None:
    client = connected(slow)
    job_id = client.submit_job(bell()).job_id

    with pytest.raises(TimeoutError, match=job_id):
        client.wait_for_job(job_id, interval=SOON, timeout=0.05)


@runs(Client.list_jobs)
def test_lists_are_filtered_ordered_and_paged(client: Any) -> None:
    first = client.run_sampling(bell(name="apple pie"), interval=SOON)
    second = client.run_sampling(bell(name="pear", description="with cream", program=BROKEN), interval=SOON)
    third = client.run_sampling(bell(name="plum"), interval=SOON)

    def listed(**filters: Any) -> list[str]:
        return [job.job_id for job in client.list_jobs(**filters)]

    in_order = [first.job_id, second.job_id, third.job_id]
    assert listed() == in_order
    assert listed(order="DESC") == in_order[::-1]
    assert listed(size=2) == in_order[:2]
    assert listed(size=2, page=2) == in_order[2:]
    assert listed(size=2, page=3) == []
    assert listed(status=Status.FAILED) == [second.job_id]
    assert listed(q="apple p") == [first.job_id]
    assert listed(q="cream") == [second.job_id]
    assert listed(q=third.job_id) == [third.job_id]
    assert listed(start_time=datetime.now(UTC) - timedelta(hours=1)) == in_order
    assert listed(start_time=datetime.now(UTC) + timedelta(hours=1)) == []
    assert listed(end_time=datetime.now(UTC) - timedelta(hours=1)) == []
    bare = client.list_jobs(fields="job_id,status", q="plum")
    assert [job.to_dict() for job in bare] == [{"job_id": third.job_id, "status": Status.SUCCEEDED}]


def test_the_list_of_an_account_has_nobody_elses_jobs(client: Any, slow: Emulator) -> None:
    theirs = connected(slow).submit_job(bell()).job_id

    assert client.list_jobs() == []
    with pytest.raises(oqtopus.UserApiError, match="HTTP 404"):
        client.get_job(theirs)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"device_id": "nowhere"}, 400),
        ({"device_id": "down"}, 400),
        ({"device_id": "private"}, 403),
        ({"shots": 0}, None),
    ],
)
def test_a_submit_that_is_refused_says_why(client: Any, cloud: Emulator, changed: Any, status: int | None) -> None:
    refused = oqtopus.UserApiError if status else ValueError

    with pytest.raises(refused) as caught:
        client.submit_job(bell(**changed))

    if status:
        assert caught.value.status_code == status
    assert cloud.books()["starts"] == 0
