"""oqtopus-client: its models, each made of what the emulator really sends, keep every member of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final

import pytest

from tests.emulator import Emulator, fetch, shared, unzipped
from tests.official.programs import BELL, ONE, PAIR
from tests.official.surface import runs

rest = pytest.importorskip("oqtopus_client.rest", reason="the official clients are not installed")

OLDER: Final = (  # of the inline API, whose members were the same
    "jobs_estimation_result.JobsEstimationResult",
    "jobs_get_jobs_response.JobsGetJobsResponse",
    "jobs_get_sselog_response.JobsGetSselogResponse",
    "jobs_job_def.JobsJobDef",
    "jobs_job_result.JobsJobResult",
    "jobs_operator_item.JobsOperatorItem",
    "jobs_sampling_result.JobsSamplingResult",
    "jobs_submit_job_info.JobsSubmitJobInfo",
)
WORDS: Final = (rest.JobsJobStatus, rest.JobsJobType)
FORMS: Final = ("to_str", "to_json", "from_json", "to_dict", "from_dict")


def model(path: str) -> Any:
    module, _, name = path.partition(".")
    return getattr(pytest.importorskip(f"oqtopus_client.rest.models.{module}"), name)


MODELS: Final[Mapping[str, Any]] = {
    **{name: member for name, member in vars(rest).items() if hasattr(member, "to_dict")},
    **{path.partition(".")[2]: model(path) for path in OLDER},
}


@runs(
    *(getattr(each, form) for each in MODELS.values() for form in FORMS),
    *(word.from_json for word in WORDS),
    rest.DevicesDeviceInfo.device_type_validate_enum,
    rest.DevicesDeviceInfo.status_validate_enum,
    rest.SettingsGetSettingsResponse.editable_fields_validate_enum,
    rest.SettingsGetSettingsResponse.visible_fields_validate_enum,
)
def test_every_model_keeps_what_the_emulator_sends() -> None:
    account = shared().new_account(trace=False)
    documents = sent_by(account)
    account.close()

    found = {name: round_trip(MODELS[name], document) for name, document in documents.items()}

    assert set(documents) == set(MODELS)
    assert found == {name: plain(document) for name, document in documents.items()}
    assert rest.JobsJobStatus.from_json('"succeeded"') == documents["JobsJob"]["status"]
    assert rest.JobsJobType.from_json('"sampling"') == documents["JobsJob"]["job_type"]


def round_trip(kind: Any, document: Mapping[str, Any]) -> Any:
    """The document, read and written in all forms of the model."""
    read = kind.from_dict(dict(document))
    assert kind.from_json(json.dumps(document)) == read
    assert kind.from_json(json.dumps(plain(read.to_dict()))) == read
    assert read.to_str()
    try:
        assert plain(json.loads(read.to_json())) == plain(read.to_dict())
    except TypeError as error:  # the published client writes no times
        assert "datetime" in str(error)
    return plain(read.to_dict())


def plain(value: Any) -> Any:
    """As JSON has it, without nulls, times in one form."""
    match value:
        case Mapping():
            return {name: plain(each) for name, each in value.items() if each is not None}
        case list():
            return [plain(each) for each in value]
        case datetime():
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        case Enum():
            return value.value
        case _:
            return value


def sent_by(account: Emulator) -> dict[str, Any]:
    """A document for each model, by its name; what no answer has is written as the client would."""
    registered = account.register()
    sampling = finished(account, {"program": [BELL]}, name="bell", description="a pair")
    operator = [{"pauli": "Z 0 Z 1", "coeff": 2.0}]
    given = {"program": [PAIR], "operator": operator}
    estimation = finished(account, given, job_type="estimation")
    several = finished(account, {"program": [ONE, ONE]}, job_type="multi_manual")
    result, estimate, divided = (output(job, "result") for job in (sampling, estimation, several))
    transpiled = output(sampling, "transpile_result")
    request = {"device_id": "qulacs", "job_type": "sampling", "shots": 100, "name": "", "description": ""}
    infos: dict[str, Any] = {"transpiler_info": {}, "simulator_info": {}, "mitigation_info": {}}
    return {
        "AnnouncementsGetAnnouncementResponse": account.ask("GET", "/announcements/1").json,
        "AnnouncementsGetAnnouncementsListResponse": account.ask("GET", "/announcements").json,
        "ApiTokenApiToken": {
            "api_token_id": "a",
            "api_token_secret": "b",
            "api_token_expiration": sampling["ended_at"],
        },
        "ApiTokenApiTokenStatus": account.ask("GET", "/api-token/status").json,
        "DevicesDeviceInfo": account.ask("GET", "/devices/qpu").json,
        "ErrorBadRequest": refused(account, 400, "POST", f"/jobs/{sampling['job_id']}/cancel"),
        "ErrorForbiddenError": refused(account, 403, "GET", "/devices/private"),
        "ErrorInternalServerError": refused(account, 500, "GET", "/jobs?size=0"),
        "ErrorNotFoundError": refused(account, 404, "GET", "/devices/nowhere"),
        "ErrorUnauthorizedError": account.ask("GET", "/devices", token=None).json,
        "JobsEstimationResult": estimate["estimation"],
        "JobsGetJobStatusResponse": account.ask("GET", f"/jobs/{sampling['job_id']}/status").json,
        "JobsGetJobsResponse": sampling,
        "JobsGetSselogResponse": {"file": "UEsFBg==", "file_name": "sselog.zip"},
        "JobsJob": sampling,
        "JobsJobDef": sampling,
        "JobsJobInfo": several["job_info"],
        "JobsJobInfoUploadPresignedURL": registered["presigned_url"],
        "JobsJobInfoUploadPresignedURLFields": registered["presigned_url"]["fields"],
        "JobsJobResult": result,
        "JobsOperatorItem": operator[0],
        "JobsRegisterJobResponse": registered,
        "JobsRegisteredJob": account.job(registered["job_id"]),
        "JobsS3EstimationResult": estimate["estimation"],
        "JobsS3JobResult": estimate,
        "JobsS3OperatorItem": output(estimation, "input")["operator"][0],
        "JobsS3SamplingResult": divided["sampling"],
        "JobsS3SubmitJobInfo": output(estimation, "input"),
        "JobsS3TranspileResult": transpiled,
        "JobsSamplingResult": divided["sampling"],
        "JobsSubmitJobInfo": given,
        "JobsSubmitJobRequest": request | infos,
        "JobsSubmitJobResponse": {"job_id": registered["job_id"]},
        "JobsSubmittedJob": sampling,
        "JobsTranspileResult": transpiled,
        "SettingsGetSettingsResponse": account.ask("GET", "/system/settings").json,
        "SuccessSuccessResponse": account.ask("DELETE", f"/jobs/{several['job_id']}").json,
        "UsersGetOneUserResponse": account.ask("GET", "/users/me").json,
        "UsersLoginEvent": {"event_date": sampling["ended_at"], "user_agent": "none", "ip": "127.0.0.1"},
        "UsersUpdateUserRequest": {"name": "Ada", "organization": "Engine"},
    }


def finished(account: Emulator, payload: Any, **asked: Any) -> dict[str, Any]:
    job_id = account.submit(payload, **asked)
    while (job := account.job(job_id))["status"] not in ("succeeded", "failed"):
        pass
    assert job["status"] == "succeeded", job
    return job


def output(job: Mapping[str, Any], name: str) -> Any:
    return json.loads(unzipped(fetch(job["job_info"][name]).content))


def refused(account: Emulator, status: int, method: str, path: str) -> Any:
    reply = account.ask(method, path)
    assert reply.status == status
    return reply.json
