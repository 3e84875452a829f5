"""oqtopus-client: its generated calls, each in three forms: the value, the value with its answer, the bare answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.emulator import Emulator, shared
from tests.official.programs import BELL, even
from tests.official.surface import runs

rest = pytest.importorskip("oqtopus_client.rest", reason="the official clients are not installed")
storage = pytest.importorskip("oqtopus_client.services.storage")

Ask = Callable[..., Awaitable[Any]]


def three(api: Any, name: str) -> pytest.MarkDecorator:
    """The marks of a call's three forms."""
    forms = (name, f"{name}_with_http_info", f"{name}_without_preload_content")
    return runs(*(getattr(api, form) for form in forms))


def spoken(account: Emulator, talk: Callable[[Any], Awaitable[None]]) -> None:
    """Lets `talk` have a generated client with the account's token."""

    async def whole() -> None:
        client = rest.ApiClient(rest.Configuration(host=account.url))
        client.set_default_header("q-api-token", account.token)
        try:
            await talk(client)
        finally:
            await client.close()

    asyncio.run(whole())


async def read(told: Any) -> Any:
    """What a call gave; the bare answer holds its connection until it was read."""
    if hasattr(told, "read"):
        await told.read()
    return told


async def thrice(api: Any, name: str, *args: Any, status: int = 200, **kwargs: Any) -> Any:
    """Asks in all three forms and finds the answers equal; the first one's value."""
    value = await getattr(api, name)(*args, **kwargs)
    told = await getattr(api, f"{name}_with_http_info")(*args, **kwargs)
    bare = await getattr(api, f"{name}_without_preload_content")(*args, **kwargs)
    content = await bare.read()
    assert (told.status_code, bare.status) == (status, status)
    assert type(told.data) is type(value)
    assert told.raw_data is not None
    assert value is None or json.loads(content) is not None
    return value


@three(rest.DeviceApi, "list_devices")
@three(rest.DeviceApi, "get_device")
def test_devices(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.DeviceApi(client)
        listed = await thrice(api, "list_devices")
        chip = await thrice(api, "get_device", "qpu")
        assert {device.device_id for device in listed} == {"qulacs", "qpu", "down"}
        assert chip.device_info.startswith(cloud.storage)

    spoken(cloud, talk)


@three(rest.AnnouncementsApi, "get_announcements_list")
@three(rest.AnnouncementsApi, "get_announcement")
def test_announcements(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.AnnouncementsApi(client)
        listed = (await thrice(api, "get_announcements_list")).announcements
        backwards = await thrice(api, "get_announcements_list", order="DESC")
        now = await thrice(api, "get_announcements_list", current_time=datetime.now(UTC))
        past = await thrice(api, "get_announcements_list", current_time=datetime(2001, 1, 1, tzinfo=UTC))
        second = await thrice(api, "get_announcements_list", offset="1", limit="1")
        assert len(listed) > 1
        assert backwards.announcements == listed[::-1]
        assert now.announcements == listed
        assert past.announcements == []
        assert second.announcements == listed[1:2]
        assert await thrice(api, "get_announcement", listed[0].id) == listed[0]

    spoken(cloud, talk)


@three(rest.UsersApi, "get_current_user")
@three(rest.UsersApi, "update_current_user")
@three(rest.SettingsApi, "get_current_settings")
def test_the_account_and_what_of_it_may_be_changed(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.UsersApi(client)
        before = await thrice(api, "get_current_user")
        settings = await thrice(rest.SettingsApi(client), "get_current_settings")
        change = rest.UsersUpdateUserRequest(name="Ada", organization="Engine")
        after = await thrice(api, "update_current_user", change)
        assert set(settings.editable_fields) == {"name", "organization"}
        assert (after.name, after.organization, after.id) == ("Ada", "Engine", before.id)
        assert await api.get_current_user() == after

    spoken(cloud, talk)


@three(rest.UsersApi, "delete_current_user")
def test_an_account_that_is_gone_is_nobody() -> None:
    goodbye(rest.UsersApi, "delete_current_user")


@three(rest.ApiTokenApi, "delete_api_token")
def test_a_token_that_was_taken_back_is_nobodys() -> None:
    goodbye(rest.ApiTokenApi, "delete_api_token")


def goodbye(api: Any, name: str) -> None:
    """Each form of a call, after which the cloud knows its caller no more, with an account of its own."""
    for form in ("", "_with_http_info", "_without_preload_content"):

        async def talk(client: Any, form: str = form) -> None:
            await read(await getattr(api(client), f"{name}{form}")())
            with pytest.raises(rest.ApiException) as caught:
                await rest.JobApi(client).list_jobs()
            assert caught.value.status == 401

        account = shared().new_account(trace=False)
        spoken(account, talk)
        account.close()


@three(rest.ApiTokenApi, "get_api_token_status")
def test_the_token(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        status = await thrice(rest.ApiTokenApi(client), "get_api_token_status")
        assert status.api_token_expiration > datetime.now(UTC)

    spoken(cloud, talk)


@three(rest.ApiTokenApi, "create_api_token")
def test_a_token_makes_no_other(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.ApiTokenApi(client)
        for ask in (api.create_api_token, api.create_api_token_with_http_info):
            with pytest.raises(rest.ApiException) as caught:
                await ask()
            assert caught.value.status == 403
        bare = await read(await api.create_api_token_without_preload_content())
        assert bare.status == 403

    spoken(cloud, talk)


@three(rest.JobApi, "register_job_id")
@three(rest.JobApi, "get_job")
@three(rest.JobApi, "get_job_status")
@three(rest.JobApi, "list_jobs")
@runs(
    rest.JobApi.submit_job,
    rest.JobApi.submit_job_with_http_info,
    rest.JobApi.submit_job_without_preload_content,
    rest.JobApi.delete_job,
    rest.JobApi.delete_job_with_http_info,
    rest.JobApi.delete_job_without_preload_content,
    storage.OqtopusStorage.upload,
    storage.OqtopusStorage.download,
    storage.OqtopusStorage.download_archive,
)
def test_a_job_from_registering_to_deleting(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.JobApi(client)
        request = rest.JobsSubmitJobRequest(device_id="qulacs", job_type="sampling", shots=500, name="step by step")
        await thrice(api, "register_job_id")
        submits = [api.submit_job, api.submit_job_with_http_info, api.submit_job_without_preload_content]
        deletes = [api.delete_job, api.delete_job_with_http_info, api.delete_job_without_preload_content]
        for submit, delete in zip(submits, deletes, strict=True):
            registered = await api.register_job_id()
            job_id = registered.job_id
            assert (await thrice(api, "get_job_status", job_id)).status == "registered"
            assert (await thrice(api, "get_job", job_id)).to_dict() == {"job_id": job_id, "status": "registered"}
            await storage.OqtopusStorage.upload(registered.presigned_url, {"program": [BELL]})
            await read(await submit(job_id, request))
            while (await api.get_job_status(job_id)).status != "succeeded":  # noqa: ASYNC110 - the cloud's to tell
                await asyncio.sleep(0.02)
            job = await thrice(api, "get_job", job_id)
            (listed,) = await thrice(api, "list_jobs", q="step by step", fields="job_id,shots")
            result = await storage.OqtopusStorage.download(job.job_info.result)
            archive = await storage.OqtopusStorage.download_archive(job.job_info.result)
            assert listed.to_dict() == {"job_id": job_id, "shots": 500}
            assert job.name == "step by step"
            assert even(result["sampling"]["counts"], "00", "11", 500)
            assert archive.startswith(b"PK")
            await read(await delete(job_id))
            assert await api.list_jobs(q="step by step") == []

    spoken(cloud, talk)


@three(rest.JobApi, "cancel_job")
def test_a_job_is_cancelled_as_often_as_one_likes(slow: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.JobApi(client)
        registered = await api.register_job_id()
        await storage.OqtopusStorage.upload(registered.presigned_url, {"program": [BELL]})
        await api.submit_job(
            registered.job_id, rest.JobsSubmitJobRequest(device_id="qulacs", job_type="sampling", shots=5)
        )
        told = await thrice(api, "cancel_job", registered.job_id)
        assert told.message == "cancel request accepted"

    spoken(slow, talk)


def test_a_registered_job_that_is_cancelled_spoils_the_lists(cloud: Emulator) -> None:
    async def talk(client: Any) -> None:
        api = rest.JobApi(client)
        job_id = (await api.register_job_id()).job_id
        await api.cancel_job(job_id)
        for ask in (api.list_jobs(), api.get_job(job_id)):
            with pytest.raises(rest.ApiException) as caught:
                await ask
            assert caught.value.status == 500
        assert [job.job_id for job in await api.list_jobs(fields="job_id,status")] == [job_id]
        await api.delete_job(job_id)
        assert await api.list_jobs() == []

    spoken(cloud, talk)
