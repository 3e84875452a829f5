"""The objects of pasqal-cloud that act by themselves: batches, jobs, workloads, configurations, endpoints."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.emulator_pasqal import FIXED, PARAMETRIZED, Cloud
from tests.official.surface import runs
from tests.official_pasqal.conftest import where

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

authentication, batch, device, endpoints, errors, job, workload = (
    import_module(f"pasqal_cloud.{name}")
    for name in ("authentication", "batch", "device", "endpoints", "errors", "job", "workload")
)
Batch, Job, Workload = batch.Batch, job.Job, workload.Workload
BaseConfig, Endpoints, TokenProviderConf = device.BaseConfig, endpoints.Endpoints, endpoints.TokenProviderConf
ExpiringTokenProvider: Any = authentication.ExpiringTokenProvider
create_jobs_to_api_payload = job.create_jobs_to_api_payload
StrEnum: Any = import_module("pasqal_cloud.utils.strenum").StrEnum
InvalidConfiguration: Any = import_module("pasqal_cloud.device.configuration").InvalidConfiguration
PasqalCloudClient: Any = import_module("pasqal_cloud.pasqal_cloud_client").PasqalCloudClient

JOB: dict[str, Any] = {"runs": 20, "variables": {"omega": 3.141592653589793}}


def created(client: Any, **given: Any) -> Any:
    usual = {"serialized_sequence": PARAMETRIZED, "jobs": [JOB], "device_type": "EMU_FREE"}
    return client.create_batch(**(usual | given))


@runs(Batch.sequence_builder, Batch.ordered_jobs, Batch.jobs, Batch.refresh)
def test_a_batch_reads_what_it_lacks(client: Any) -> None:
    made = created(client, wait=True)
    (listed,) = client.get_batches().results

    listed.refresh()

    assert listed.sequence_builder == PARAMETRIZED
    assert [job.id for job in listed.ordered_jobs] == [job.id for job in made.ordered_jobs]
    with pytest.warns(DeprecationWarning, match="use 'ordered_jobs' instead"):
        assert list(listed.jobs) == [job.id for job in made.ordered_jobs]


@runs(Batch.add_jobs, Batch.retry, Batch.close)
def test_an_open_batch_grows_and_retries_until_it_is_closed(client: Any) -> None:
    batch = created(client, open=True)
    batch.add_jobs([JOB], wait=True)
    batch.retry(batch.ordered_jobs[0])

    batch.close(wait=True)

    assert (batch.status, [job.result for job in batch.ordered_jobs]) == ("DONE", [{"11": 20}] * 3)
    with pytest.raises(errors.JobRetryError):
        batch.retry(batch.ordered_jobs[0])


@runs(Batch.declare_complete)
def test_a_batch_is_declared_complete_in_the_old_way(waiting: Any) -> None:
    batch = created(waiting, open=True)

    with pytest.warns(DeprecationWarning, match="use close instead"):
        batch.declare_complete()

    assert batch.open is False


@runs(Batch.set_tags, Batch.cancel)
def test_a_batch_is_tagged_and_cancelled(waiting: Any) -> None:
    batch = created(waiting, tags=["a"])

    batch.set_tags(["b", "c"])
    batch.cancel()

    assert (batch.tags, batch.status) == (["b", "c"], "CANCELED")


@runs(Job.sequence, Job.full_result, Job.result)
def test_a_job_fetches_its_sequence_and_its_result(client: Any) -> None:
    batch = created(client, serialized_sequence=None, jobs=[{"runs": 5, "serialized_sequence": FIXED}], wait=True)
    (job,) = batch.ordered_jobs

    assert job.sequence == FIXED
    assert job.full_result == {"counter": {"11": 5}, "raw": ["11"] * 5, "serialised_results": None}
    assert job.result == {"11": 5}


@runs(Job.cancel)
def test_a_job_cancels_itself_and_has_no_result(waiting: Any) -> None:
    (job,) = created(waiting).ordered_jobs

    job.cancel()

    assert (job.status, job.result) == ("CANCELED", None)


@runs(Workload.cancel)
def test_a_workload_cancels_itself(waiting: Any) -> None:
    workload = waiting.create_workload("qadence_circuit", "pyqtorch", {"a": 1})

    workload.cancel()

    assert workload.status == "CANCELED"


@runs(Workload.result_link_to_result)
def test_a_workload_fetches_its_result(client: Any) -> None:
    workload = client.create_workload("qadence_circuit", "pyqtorch", {"a": 1}, wait=True)

    assert workload.result == {"workload_type": "qadence_circuit", "config": {"a": 1}}


@runs(ExpiringTokenProvider.get_token, authentication.TokenProvider.__init__)
def test_a_token_provider_of_ones_own_is_taken(cloud: Cloud) -> None:
    class Service(ExpiringTokenProvider):  # type: ignore[misc]  # a class that mypy cannot see
        def _query_token(self) -> Any:
            client_id, _, secret = cloud.token.partition(".")
            form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}
            return cloud.login(**form, realm=None, username=None, password=None).json

    client = PasqalCloudClient(token_provider=Service(), project_id=cloud.project, endpoints=where(cloud)["endpoints"])
    batch = created(client)
    client.get_batch(batch.id)

    assert batch.user_id.endswith("@clients")
    assert cloud.books()["tokens"] == 1


@runs(
    import_module("pasqal_cloud.sdk").SDK.__init__,
    import_module("pasqal_cloud.client").Client.__init__,
)
def test_the_clients_are_there_under_their_old_names(cloud: Cloud) -> None:
    """Each says what it is called now."""
    login = {"username": cloud.username, "password": cloud.token, "project_id": cloud.project, **where(cloud)}

    with pytest.warns(DeprecationWarning, match="Please use 'PasqalCloudClient' instead"):
        sdk = import_module("pasqal_cloud.sdk").SDK(**login)
    with pytest.warns(DeprecationWarning, match="Please use 'HTTPClient' instead"):
        older = import_module("pasqal_cloud.client").Client(**login)

    assert created(sdk).project_id == cloud.project
    assert older.get_all_active_projects()[0]["id"] == cloud.project


# --- what stays on this side ------------------------------------------------------------------------------------------


@runs(BaseConfig.to_dict, BaseConfig.from_dict, BaseConfig.allowed_result_types)
def test_configurations_come_back_as_they_were_sent(client: Any) -> None:
    config = BaseConfig(extra_config={"special": 1}, result_types=["counter"])
    batch = created(client, device_type="EMU_C", configuration=config)

    assert batch.configuration == config
    with pytest.raises(InvalidConfiguration):
        device.EmuTNConfig(dt=-1.0).to_dict()


@runs(Batch.ordered_jobs.fset, Batch.jobs.fset)
def test_the_jobs_of_a_batch_are_replaced_on_this_side_alone(waiting: Any) -> None:
    """But for the old name, which cannot be changed."""
    batch = created(waiting)
    (job,) = batch.ordered_jobs

    batch.jobs = {}
    kept = list(batch.ordered_jobs)
    batch.ordered_jobs = []

    assert (kept, batch.ordered_jobs) == ([job], [])
    batch.refresh()
    assert [each.id for each in waiting.get_batch(batch.id).ordered_jobs] == [job.id]


@runs(create_jobs_to_api_payload)
def test_a_job_is_sent_under_the_names_that_the_cloud_knows(client: Any, cloud: Cloud) -> None:
    created(client, serialized_sequence=None, jobs=[{"runs": 5, "serialized_sequence": FIXED}])

    (job,) = cloud.books()["batches"][0]["jobs"]
    assert create_jobs_to_api_payload([{"runs": 5, "serialized_sequence": FIXED}]) == [{"runs": 5, "sequence": FIXED}]
    assert (job["runs"], job["variables"]) == (5, None)


@runs(StrEnum.list)
def test_every_device_type_of_the_client_is_one_of_the_cloud(client: Any) -> None:
    for name in device.DeviceTypeName.list():
        runs_needed = [{"runs": 1, "variables": {"omega": 1.0}}]
        if name == "EMU_TN":
            with pytest.warns(DeprecationWarning):
                made = created(client, device_type=name, jobs=runs_needed)
        else:
            made = created(client, device_type=name, jobs=runs_needed)
        assert made.device_type == name


@runs(Endpoints.from_region, TokenProviderConf.from_region, TokenProviderConf.from_auth0_config)
def test_regions_differ_in_where_and_how_one_logs_in() -> None:
    assert Endpoints.from_region("sa").core == "https://apis.sa.pasqal.cloud/core-fast"
    assert TokenProviderConf.from_region("sa").grant_type == "password"
    assert TokenProviderConf.from_auth0_config(endpoints.Auth0Conf()).realm == "pcs-users"
