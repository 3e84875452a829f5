"""`PasqalCloudClient`, method by method, against the stand-in."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import UUID

import pytest

from tests.emulator_pasqal import FIXED, PARAMETRIZED, Cloud
from tests.official.surface import runs
from tests.official_pasqal.conftest import connected, where

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

errors, filters, constants, polling = (
    import_module(f"pasqal_cloud.{name}") for name in ("errors", "utils.filters", "utils.constants", "utils.polling")
)
authentication: Any = import_module("pasqal_cloud.authentication")
HTTPClient: Any = import_module("pasqal_cloud.http_client").HTTPClient
PasqalCloudClient: Any = import_module("pasqal_cloud.pasqal_cloud_client").PasqalCloudClient
BatchStatus, JobStatus, QueuePriority = constants.BatchStatus, constants.JobStatus, constants.QueuePriority
BatchFilters, JobFilters, PaginationParams = filters.BatchFilters, filters.JobFilters, filters.PaginationParams
CancelJobFilters, RebatchFilters, BaseFilters = filters.CancelJobFilters, filters.RebatchFilters, filters.BaseFilters

JOBS: list[dict[str, Any]] = [
    {"runs": 20, "variables": {"omega": 3.141592653589793}},
    {"runs": 50, "variables": {"omega": 0.0}},
]


def created(client: Any, **given: Any) -> Any:
    usual = {"serialized_sequence": PARAMETRIZED, "jobs": JOBS, "device_type": "EMU_FREE"}
    return client.create_batch(**(usual | given))


# --- who and where ----------------------------------------------------------------------------------------------------


@runs(PasqalCloudClient.user_token, PasqalCloudClient.project_id)
def test_it_logs_in_when_it_is_made(client: Any, cloud: Cloud) -> None:
    assert client.user_token().count(".") == 2
    assert client.project_id == cloud.project
    assert cloud.books()["tokens"] == 1


def test_a_wrong_password_is_told_when_it_is_made(cloud: Cloud) -> None:
    with pytest.raises(authentication.TokenProviderError, match=r"403: Wrong email or password\."):
        PasqalCloudClient(username=cloud.username, password="wrong", **where(cloud))


@runs(
    PasqalCloudClient.get_all_projects,
    PasqalCloudClient.switch_to_project,
    PasqalCloudClient.project_id.fset,
)
def test_another_project_is_chosen(client: Any, cloud: Cloud) -> None:
    main, second = client.get_all_projects()

    client.switch_to_project(second.id)
    batch = created(client)

    assert (main.id, main.name) == (cloud.project, "main")
    assert batch.project_id == second.id
    with pytest.raises(errors.ProjectNotFoundError):
        client.switch_to_project("00000000-0000-0000-0000-000000000000")


# --- batches ----------------------------------------------------------------------------------------------------------


@runs(
    PasqalCloudClient.create_batch,
    polling.poll_status,
    polling.batch_still_running,
    import_module("pasqal_cloud.batch").Batch.__init__,
    import_module("pasqal_cloud.job").Job.__init__,
)
def test_a_batch_is_created_and_waited_for(client: Any, cloud: Cloud) -> None:
    batch = created(client, wait=True, tags=["a", "b"])

    assert (batch.status, batch.open, batch.tags) == ("DONE", False, ["a", "b"])
    assert batch.jobs_count_per_status == {"DONE": 2}
    assert [job.result for job in batch.ordered_jobs] == [{"11": 20}, {"00": 50}]
    assert cloud.books()["created_by_tag"] == {"a": 1, "b": 1}


@runs(PasqalCloudClient.get_batch, PasqalCloudClient.get_batch_status)
def test_a_batch_is_read_again(client: Any) -> None:
    made = created(client, wait=True)

    batch = client.get_batch(made.id)

    assert client.get_batch_status(made.id) is BatchStatus.DONE
    assert (batch.id, batch.sequence_builder) == (made.id, PARAMETRIZED)
    assert [job.id for job in batch.ordered_jobs] == [job.id for job in made.ordered_jobs]


def test_what_is_wrong_with_a_batch_reaches_the_user(client: Any) -> None:
    with pytest.raises(errors.BatchCreationError, match="The tags are not unique"):
        created(client, tags=["a", "a"])
    with pytest.raises(errors.BatchFetchingError, match="Not found"):
        client.get_batch("00000000-0000-0000-0000-000000000000")


def test_every_configuration_is_taken(client: Any) -> None:
    device = import_module("pasqal_cloud.device")

    free = created(client, configuration=device.EmuFreeConfig(with_noise=True))
    with pytest.warns(DeprecationWarning, match="EMU_TN is deprecated"):
        network = created(client, device_type="EMU_TN", configuration=device.EmuTNConfig(dt=5.0))
    with pytest.warns(DeprecationWarning, match="Argument `emulator` is deprecated"):
        older = created(client, device_type=None, emulator="EMU_MPS")

    assert free.configuration == device.EmuFreeConfig(with_noise=True)
    assert network.configuration == device.EmuTNConfig(dt=5.0)
    assert older.device_type == "EMU_MPS"


def test_jobs_may_bring_their_own_sequences(client: Any) -> None:
    batch = created(client, serialized_sequence=None, jobs=[{"runs": 10, "serialized_sequence": FIXED}], wait=True)

    (job,) = batch.ordered_jobs
    assert (job.sequence, job.result) == (FIXED, {"11": 10})


@runs(
    PasqalCloudClient.get_batches,
    BaseFilters.serialize_datetime_to_isoformat,
    BatchFilters.single_item_to_list_validator,
    BatchFilters.str_to_uuid_validator,
    BatchFilters.status_enum_to_string,
    BatchFilters.queue_priority_enum_to_string,
    BaseFilters.convert_to_list,
    BaseFilters.convert_str_to_uuid,
)
def test_batches_are_found_by_all_filters_together(client: Any) -> None:
    wanted = created(client, tags=["one"], wait=True)
    created(client, tags=["two"], open=True)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)

    page = client.get_batches(
        BatchFilters(
            id=wanted.id,
            project_id=[wanted.project_id],
            user_id=wanted.user_id,
            device_type="EMU_FREE",
            status=[BatchStatus.DONE, BatchStatus.ERROR],
            open=False,
            queue_priority=QueuePriority.MEDIUM,
            tag="one",
            start_date=long_ago,
            end_date=datetime(2100, 1, 1, tzinfo=UTC),
        )
    )

    assert (page.total, page.offset, [batch.id for batch in page.results]) == (1, 0, [wanted.id])
    assert client.get_batches(BatchFilters(end_date=long_ago)).total == 0
    assert client.get_batches(BatchFilters(open=True)).results[0].tags == ["two"]


def test_batches_come_in_pages(waiting: Any) -> None:
    made = [created(waiting).id for _ in range(3)]

    pages = [waiting.get_batches(pagination_params=PaginationParams(offset=place, limit=2)) for place in (0, 2)]

    assert [page.total for page in pages] == [3, 3]
    assert [batch.id for page in pages for batch in page.results] == made[::-1]


def test_more_jobs_than_a_page_holds_are_read(waiting: Any) -> None:
    jobs = [{"runs": 1, "variables": {"omega": place / 100}} for place in range(230)]

    batch = waiting.get_batch(created(waiting, jobs=jobs).id)

    assert [job.variables["omega"] for job in batch.ordered_jobs] == [place / 100 for place in range(230)]


@runs(PasqalCloudClient.add_jobs, PasqalCloudClient.close_batch)
def test_an_open_batch_takes_more_jobs_until_it_is_closed(client: Any) -> None:
    made = created(client, open=True, wait=True)
    between = client.add_jobs(made.id, JOBS[:1], wait=True)

    closed = client.close_batch(made.id)

    assert (between.status, between.open) == ("RUNNING", True)
    assert [job.status for job in between.ordered_jobs] == ["DONE"] * 3
    assert (closed.status, closed.open) == ("DONE", False)
    with pytest.raises(errors.JobCreationError, match="The batch is closed"):
        client.add_jobs(made.id, JOBS)
    with pytest.raises(errors.BatchClosingError, match="closed already"):
        client.close_batch(made.id)


@runs(PasqalCloudClient.complete_batch)
def test_a_batch_is_closed_in_the_old_way(client: Any) -> None:
    with pytest.warns(DeprecationWarning, match="Argument `complete` is deprecated"):
        made = created(client, complete=False)

    with pytest.warns(DeprecationWarning, match="use close_batch instead"):
        assert client.complete_batch(made.id).complete is True


@runs(PasqalCloudClient.set_batch_tags)
def test_tags_are_replaced(waiting: Any) -> None:
    made = created(waiting, tags=["a"])

    assert waiting.set_batch_tags(made.id, ["b"]).tags == ["b"]
    assert waiting.get_batches(BatchFilters(tag="a")).total == 0


@runs(
    PasqalCloudClient.rebatch,
    RebatchFilters.single_item_to_list_validator,
    RebatchFilters.str_to_uuid_validator,
    RebatchFilters.status_enum_to_string,
)
def test_jobs_are_done_again(client: Any) -> None:
    made = created(client, wait=True)
    many, few = made.ordered_jobs[1], made.ordered_jobs[0]

    one = client.rebatch(made.id, RebatchFilters(id=[many.id], status=JobStatus.DONE, min_runs=30))
    everything = client.rebatch(UUID(made.id))

    assert (one.parent_id, [job.parent_id for job in one.ordered_jobs]) == (made.id, [many.id])
    assert [job.parent_id for job in everything.ordered_jobs] == [few.id, many.id]
    with pytest.raises(errors.RebatchError, match="No job of the batch matches"):
        client.rebatch(made.id, RebatchFilters(status=[JobStatus.ERROR]))


# --- cancels ----------------------------------------------------------------------------------------------------------


@runs(PasqalCloudClient.cancel_batch)
def test_a_batch_is_cancelled(waiting: Any) -> None:
    made = created(waiting)

    batch = waiting.cancel_batch(made.id)

    assert (batch.status, {job.status for job in batch.ordered_jobs}) == ("CANCELED", {"CANCELED"})
    with pytest.raises(errors.BatchCancellingError, match="CANCELED and cannot be cancelled"):
        waiting.cancel_batch(made.id)


@runs(PasqalCloudClient.cancel_batches)
def test_several_batches_are_cancelled(waiting: Any) -> None:
    one, two = created(waiting), created(waiting)
    waiting.cancel_batch(two.id)

    found = waiting.cancel_batches([one.id, two.id])

    assert [batch.id for batch in found.batches] == [one.id]
    assert found.errors == {UUID(two.id): "The batch is CANCELED and cannot be cancelled"}


def test_an_empty_list_of_batches_to_cancel_is_in_the_books(waiting: Any, slow: Cloud) -> None:
    with pytest.raises(errors.BatchCancellingError):
        waiting.cancel_batches([])

    assert slow.books()["empty_cancels"] == 1


@runs(PasqalCloudClient.cancel_job)
def test_a_job_is_cancelled(waiting: Any) -> None:
    job = created(waiting).ordered_jobs[0]

    assert waiting.cancel_job(job.id).status == "CANCELED"
    with pytest.raises(errors.JobCancellingError, match="CANCELED and cannot be cancelled"):
        waiting.cancel_job(job.id)


@runs(
    PasqalCloudClient.cancel_jobs,
    CancelJobFilters.single_item_to_list_validator,
    CancelJobFilters.str_to_uuid_validator,
)
def test_jobs_are_cancelled_by_filter(waiting: Any) -> None:
    made = created(waiting)
    few, many = (job.id for job in made.ordered_jobs)

    first = waiting.cancel_jobs(made.id, CancelJobFilters(id=[few, many], min_runs=30))
    rest = waiting.cancel_jobs(made.id)

    assert ([job.id for job in first.jobs], first.errors) == ([many], {})
    assert [job.id for job in rest.jobs] == [few]
    assert rest.errors == {UUID(many): "It is CANCELED and cannot be cancelled"}


# --- jobs -------------------------------------------------------------------------------------------------------------


@runs(PasqalCloudClient.get_job, PasqalCloudClient.get_job_status, polling.job_still_running)
def test_a_job_is_waited_for(client: Any) -> None:
    made = created(client).ordered_jobs[0]

    job = client.get_job(made.id, wait=True)

    assert (job.status, job.result, job.sequence) == ("DONE", {"11": 20}, None)
    assert client.get_job_status(made.id) is JobStatus.DONE


@runs(
    PasqalCloudClient.get_jobs,
    JobFilters.single_item_to_list_validator,
    JobFilters.str_to_uuid_validator,
    JobFilters.status_enum_to_string,
)
def test_jobs_are_found_by_all_filters_together(client: Any) -> None:
    made = created(client, wait=True)
    few = made.ordered_jobs[0]

    page = client.get_jobs(
        JobFilters(
            id=[job.id for job in made.ordered_jobs],
            project_id=made.project_id,
            user_id=made.user_id,
            batch_id=made.id,
            status=JobStatus.DONE,
            errors=False,
            min_runs=1,
            max_runs=30,
            start_date=datetime(2020, 1, 1, tzinfo=UTC),
        ),
        PaginationParams(limit=1),
    )

    assert (page.total, [job.id for job in page.results]) == (1, [few.id])
    assert client.get_jobs(JobFilters(errors=True)).total == 0


@runs(BaseFilters.convert_str_to_uuid)
def test_an_id_that_is_none_does_not_reach_the_cloud() -> None:
    with pytest.raises(ValueError, match="Cannot convert mine to UUID"):
        JobFilters(id="mine")


# --- workloads and devices --------------------------------------------------------------------------------------------


@runs(
    PasqalCloudClient.create_workload,
    PasqalCloudClient.get_workload,
    PasqalCloudClient.wait_for_workload,
    import_module("pasqal_cloud.workload").Workload.__init__,
)
def test_a_workload_is_created_and_its_result_read(client: Any) -> None:
    made = client.create_workload("algorithm_pulse", "emu_c", {"sequence": FIXED, "runs": 30}, wait=True)

    found = client.get_workload(made.id, wait=True)

    assert (made.status, found.result) == ("DONE", {"counter": {"11": 30}})


@runs(PasqalCloudClient.cancel_workload)
def test_a_workload_is_cancelled(waiting: Any) -> None:
    made = waiting.create_workload("qadence_circuit", "pyqtorch", {"a": 1})

    assert waiting.cancel_workload(made.id).status == "CANCELED"


@runs(PasqalCloudClient.get_device_specs_dict)
def test_specs_are_the_same_with_a_login_and_without(client: Any, cloud: Cloud) -> None:
    stranger = PasqalCloudClient(endpoints=where(cloud)["endpoints"])

    assert client.get_device_specs_dict() == stranger.get_device_specs_dict()


# --- what it does to its users ----------------------------------------------------------------------------------------


@runs(
    PasqalCloudClient.__init__,
    HTTPClient.__init__,
    authentication.PasswordGrantTokenProvider.__init__,
    authentication.HTTPBearerAuthenticator.__init__,
)
def test_it_asks_for_a_token_with_every_request_where_tokens_live_short(whole: Cloud) -> None:
    account = whole.new_account(life=60.0)

    client = connected(account)
    client.get_batches()
    client.get_batches()

    assert account.books()["tokens"] == 3
    account.close()
