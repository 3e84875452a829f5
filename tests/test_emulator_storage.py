"""The storage host of the stand-in: upload forms and links that are signed, checked to the letter, and expire."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.emulator import Emulator, fetch, multipart, request, shared, stand_in, unzipped, zipped
from tests.test_emulator import PROGRAM

SUBMIT = {"device_id": "qulacs", "job_type": "sampling", "shots": 100}


@pytest.fixture
def cloud() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


def code(content: bytes) -> str:
    return content.decode().partition("<Code>")[2].partition("</Code>")[0]


def test_the_storage_is_another_origin_than_the_api(cloud: Emulator) -> None:
    form = cloud.register()["presigned_url"]

    assert form["url"].startswith(cloud.storage)
    assert urlsplit(cloud.storage).port != urlsplit(cloud.url).port


def test_a_form_names_its_key_and_has_a_field_that_no_client_knows(cloud: Emulator) -> None:
    registered = cloud.register()

    fields = registered["presigned_url"]["fields"]

    assert fields["key"] == f"{registered['job_id']}/input.zip"
    expected = ["AWSAccessKeyId", "key", "policy", "signature", "x-amz-meta-trace", "x-amz-security-token"]
    assert sorted(fields) == expected
    assert json.loads(base64.b64decode(fields["policy"]))["expiration"] > "2026"


def test_the_field_that_no_client_knows_can_be_left_away() -> None:
    plain = shared().new_account(trace=False)

    assert "x-amz-meta-trace" not in plain.register()["presigned_url"]["fields"]
    plain.close()


@pytest.mark.parametrize("name", ["policy", "signature", "AWSAccessKeyId", "x-amz-meta-trace", "x-amz-security-token"])
def test_every_field_of_a_form_must_come_back_unchanged(cloud: Emulator, name: str) -> None:
    registered = cloud.register()

    missing = cloud.upload(registered, PROGRAM, **{name: None})
    changed = cloud.upload(registered, PROGRAM, **{name: "eyJ4IjogMX0="})

    assert (missing.status, changed.status) == (403, 403)
    assert missing.headers["content-type"] == "application/xml"
    reply = cloud.ask("POST", f"/jobs/{registered['job_id']}/submit", SUBMIT)
    assert "not found" in reply.json["message"]


def test_a_form_serves_no_other_key(cloud: Emulator) -> None:
    mine, other = cloud.register(), cloud.register()

    reply = cloud.upload(mine, PROGRAM, key=other["presigned_url"]["fields"]["key"])

    assert (reply.status, code(reply.content)) == (403, "AccessDenied")
    assert cloud.upload(mine, PROGRAM, key=None).status == 400


def test_a_field_too_many_is_refused(cloud: Emulator) -> None:
    reply = cloud.upload(cloud.register(), PROGRAM, **{"x-amz-meta-more": "1"})

    assert (reply.status, b"Extra input fields" in reply.content) == (403, True)


def test_fields_after_the_file_are_not_seen(cloud: Emulator) -> None:
    form = cloud.register()["presigned_url"]
    kind, data = multipart({"key": form["fields"]["key"]}, b"zip")
    rest = multipart(form["fields"], b"")[1].partition(
        b'--qrun-test-boundary\r\ncontent-disposition: form-data; name="file"'
    )
    swapped = data.replace(b"--qrun-test-boundary--\r\n", rest[0]) + b"--qrun-test-boundary--\r\n"

    reply = request(form["url"], "POST", "", swapped, {"content-type": kind})

    assert (reply.status, code(reply.content)) == (403, "AccessDenied")


def test_what_is_no_form_or_has_no_file_is_refused(cloud: Emulator) -> None:
    form = cloud.register()["presigned_url"]

    plain = request(form["url"], "POST", "", b"zip", {"content-type": "application/zip"})
    kind, data = multipart(form["fields"], b"zip")
    fileless = request(form["url"], "POST", "", data.replace(b'name="file"', b'name="tile"'), {"content-type": kind})

    assert (plain.status, code(plain.content)) == (400, "MalformedPOSTRequest")
    assert (fileless.status, code(fileless.content)) == (400, "InvalidArgument")


def test_a_second_upload_replaces_the_first(cloud: Emulator) -> None:
    registered = cloud.register()
    cloud.upload(registered, {"program": ["nonsense"]})
    cloud.upload(registered, PROGRAM)

    cloud.ask("POST", f"/jobs/{registered['job_id']}/submit", SUBMIT)

    assert cloud.rest(registered["job_id"])["status"] == "succeeded"


def test_an_upload_may_hold_any_bytes(cloud: Emulator) -> None:
    content = zipped("input.json", json.dumps(PROGRAM).encode()) + b"\r\n--qrun-test\r\n\r\n\x00\xff--"
    registered = cloud.register()

    assert cloud.upload(registered, content).status == 204
    assert cloud.ask("POST", f"/jobs/{registered['job_id']}/submit", SUBMIT).status == 200

    assert fetch(cloud.job(registered["job_id"])["job_info"]["input"]).content == content


def test_links_give_back_what_was_stored_and_are_made_afresh(cloud: Emulator) -> None:
    job = cloud.rest(cloud.submit(PROGRAM))

    reply = fetch(job["job_info"]["input"])

    assert json.loads(unzipped(reply.content)) == PROGRAM
    assert reply.headers["content-type"] == "application/zip"


@pytest.mark.parametrize("part", ["Signature", "Expires", "AWSAccessKeyId"])
def test_a_link_that_was_changed_is_refused(cloud: Emulator, part: str) -> None:
    link: str = cloud.rest(cloud.submit(PROGRAM))["job_info"]["result"]
    before, _, after = link.partition(f"{part}=")

    assert fetch(f"{before}{part}=9{after}").status == 403
    assert fetch(link.replace("result.zip", "input.zip")).status == 403
    assert fetch(link.partition("?")[0]).status == 403


def test_forms_and_links_expire() -> None:
    with stand_in("--link-life", "0") as cloud:
        registered = cloud.register()
        link = cloud.ask("GET", "/devices/qpu").json["device_info"]
        fetches: list[Any] = [fetch(link)]
        while fetches[-1].status == 200:  # it is valid to the end of its second
            fetches.append(fetch(link))
        upload = cloud.upload(registered, PROGRAM)

    assert (fetches[-1].status, b"Request has expired" in fetches[-1].content) == (403, True)
    assert (upload.status, b"Policy expired" in upload.content) == (403, True)


def test_a_credential_that_reaches_the_storage_is_noticed(cloud: Emulator) -> None:
    link = cloud.rest(cloud.submit(PROGRAM))["job_info"]["result"]
    before = cloud.books()["leaks"]

    reply = request(link, "GET", "", None, {"q-api-token": cloud.token})

    assert reply.status == 200
    assert cloud.books()["leaks"] == before + 1


def test_other_buckets_and_methods_are_refused(cloud: Emulator) -> None:
    form = cloud.register()["presigned_url"]

    assert code(request(cloud.storage, "GET", "/other/key", None, {}).content) == "NoSuchBucket"
    assert request(form["url"], "PUT", "/key", b"", {}).status == 405
