"""A storage host as the clouds use it: upload forms and download links that are signed and expire, errors in XML.

The signatures are those of S3's older scheme (HMAC-SHA1 over a few lines, key id `AWSAccessKeyId`); a form's policy
is checked as S3 does, every field of it included.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode
from xml.sax.saxutils import escape

from qrun.clock import Clock, instant, stamp
from qrun.emulators.faults import Kind
from qrun.emulators.multipart import Part, parts
from qrun.emulators.wire import Answer, Call

BUCKET: Final = "emulator-jobs"
KEY_ID: Final = "EMULATOR"
XML: Final = b"application/xml"
UNCHECKED: Final = frozenset({"AWSAccessKeyId", "policy", "signature", "file"})  # fields that no condition is about

Blob = bytes | Callable[[], bytes]


def error(status: int, code: str, message: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Answer(status=status, type=XML, body=f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode())


def denied(message: str) -> Answer:
    return error(403, "AccessDenied", message)


@dataclass(kw_only=True, slots=True)
class Storage:
    """`blobs` by key; one that is a function is made when somebody fetches it. `life` is in seconds."""

    url: str
    secret: bytes = field(repr=False)
    life: float = 3600.0
    largest: int = 50 * 2**20
    clock: Clock = field(default_factory=Clock)
    blobs: dict[str, Blob] = field(default_factory=dict, repr=False)
    leaks: int = 0  # requests that brought a credential of the API along

    def form(self, key: str, extra: Mapping[str, str]) -> dict[str, Any]:
        """Where and with which fields an object may be uploaded."""
        conditions: list[Any] = [{"bucket": BUCKET}, {"key": key}]
        conditions += [{name: value} for name, value in extra.items()]
        conditions.append(["content-length-range", 0, self.largest])
        policy = {"expiration": stamp(self.clock.now() + self.life), "conditions": conditions}
        text = base64.b64encode(json.dumps(policy).encode()).decode()
        fields = {"key": key, "AWSAccessKeyId": KEY_ID, **extra, "policy": text, "signature": self._sign(text)}
        return {"url": f"{self.url}/{BUCKET}", "fields": fields}

    def link(self, key: str) -> str:
        expires = str(int(self.clock.now() + self.life))
        query = {"AWSAccessKeyId": KEY_ID, "Signature": self._signed(key, expires), "Expires": expires}
        return f"{self.url}/{BUCKET}/{quote(key)}?{urlencode(query)}"

    def remove(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.blobs.pop(key, None)

    def answer(self, call: Call) -> Answer:
        if "q-api-token" in call.headers or "authorization" in call.headers:
            self.leaks += 1
        bucket, _, key = call.path.lstrip("/").partition("/")
        if bucket != BUCKET:
            return error(404, "NoSuchBucket", "The specified bucket does not exist")
        if call.method == "POST" and not key:
            return self._post(call)
        if call.method == "GET" and key:
            return self._get(call, key)
        return error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")

    # --- links ----------------------------------------------------------------------------------------------------

    def _sign(self, text: str) -> str:
        return base64.b64encode(hmac.digest(self.secret, text.encode(), hashlib.sha1)).decode()

    def _signed(self, key: str, expires: str) -> str:
        return self._sign(f"GET\n\n\n{expires}\n/{BUCKET}/{key}")

    def _get(self, call: Call, key: str) -> Answer:
        query = call.query
        expires = query.get("Expires", "")
        if query.get("AWSAccessKeyId") != KEY_ID or not expires.isdigit():
            return denied("Access Denied")
        if not hmac.compare_digest(query.get("Signature", ""), self._signed(key, expires)):
            return error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        if int(expires) < self.clock.now() or _expired(call):
            return denied("Request has expired")
        blob = self.blobs.get(key)
        if blob is None:
            return error(404, "NoSuchKey", "The specified key does not exist.")
        return Answer(status=200, type=b"application/zip", body=blob if isinstance(blob, bytes) else blob())

    # --- forms ----------------------------------------------------------------------------------------------------

    def _post(self, call: Call) -> Answer:
        found = parts(call.headers.get("content-type", ""), call.body)
        if found is None:
            return error(400, "MalformedPOSTRequest", "The body of your POST request is not well-formed.")
        given, file = _fields(found)
        if file is None:
            return error(400, "InvalidArgument", "POST requires exactly one file upload per request.")
        if "key" not in given:
            return error(400, "InvalidArgument", "Bucket POST must contain a field named 'key'.")
        refused = self._checked(given, len(file.content), expired=_expired(call))
        if refused is not None:
            return refused
        self.blobs[given["key"]] = file.content
        return Answer(status=204)

    def _checked(self, given: Mapping[str, str], size: int, *, expired: bool) -> Answer | None:
        policy = given.get("policy", "")
        if given.get("AWSAccessKeyId") != KEY_ID or not policy:
            return denied("Access Denied")
        if not hmac.compare_digest(given.get("signature", ""), self._sign(policy)):
            return error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match.")
        told = json.loads(base64.b64decode(policy))
        if instant(told["expiration"]) < self.clock.now() or expired:
            return denied("Invalid according to Policy: Policy expired.")
        wanted = {name: value for each in told["conditions"] if isinstance(each, dict) for name, value in each.items()}
        for name, value in wanted.items():
            if name != "bucket" and given.get(name) != value:
                return denied(f'Invalid according to Policy: Policy Condition failed: ["eq", "${name}", "{value}"]')
        for name in given:
            if name not in wanted and name not in UNCHECKED:
                return denied(f"Invalid according to Policy: Extra input fields: {name}")
        if size > self.largest:
            return error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
        return None


def _fields(found: list[Part]) -> tuple[dict[str, str], Part | None]:
    """What stands before the file; S3 passes over what comes after it."""
    given: dict[str, str] = {}
    for part in found:
        if part.name == "file":
            return given, part
        given[part.name] = part.content.decode("utf-8", "replace")
    return given, None


def _expired(call: Call) -> bool:
    return any(fault.kind is Kind.EXPIRED for fault in call.faults)
