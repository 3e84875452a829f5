"""Requests taken apart, so that those of two senders can be compared by the names of their fields."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl

from tests.emulator_pasqal import Cloud
from tests.official.recorder import Sent

OF_THE_CLOUD: Final = frozenset({"header host", "header content-length"})
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MARK: Final = re.compile(r"qr[1x][a-z2-7]{26}")

# Where the client and qrun differ in whatever is sent, and why.
ALWAYS: Final[Mapping[str, str]] = {
    "header user-agent": "each says who it is",
    "header accept-encoding": "qrun counts an answer's bytes as they come, so none may be packed",
    "header accept": "qrun takes JSON alone",
    "header connection": "both keep it open; qrun leaves it unsaid, as is usual since HTTP/1.1",
}


def changes(sent: Sequence[Sent]) -> list[Sent]:
    """What is more than a question."""
    return [each for each in sent if each.method != "GET" and each.path != "/oauth/token"]


def route(sent: Sent, account: Cloud) -> str:
    return f"{sent.method} {unnamed(sent.path, account)}"


def unnamed(text: str, account: Cloud) -> str:
    """Without the ids that the cloud gives out; the project is no such id."""
    return ID.sub(lambda found: "PROJECT" if found[0] == account.project else "*", text)


def apart(theirs: Sequence[Sent], ours: Sequence[Sent], account: Cloud) -> dict[str, list[tuple[Any, Any]]]:
    """By the name of a field what each sends, where they differ."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for pair in zip(theirs, ours, strict=True):
        one, two = (taken_apart(each, account) for each in pair)
        for name in different_names(one, two):
            found.setdefault(name, []).append((one.get(name), two.get(name)))
    return found


def different_names(one: Mapping[str, Any], two: Mapping[str, Any]) -> set[str]:
    return {name for name in {*one, *two} - OF_THE_CLOUD if one.get(name) != two.get(name)}


def taken_apart(sent: Sent, account: Cloud) -> dict[str, Any]:
    found: dict[str, Any] = {
        f"query {name}": list(dict.fromkeys(MARK.sub("MARK", unnamed(value, account)) for value in values))
        for name, values in sent.query.items()
    }
    found |= {f"header {name}": value for name, value in sent.headers.items()}
    if "authorization" in sent.headers:
        found["header authorization"] = sent.headers["authorization"].partition(" ")[0]  # who it is was told by a token
    if sent.headers.get("content-type") == "application/x-www-form-urlencoded":
        return found | {f"form {name}": value for name, value in parse_qsl(sent.body.decode())}
    if not sent.body:
        return found
    data = gzip.decompress(sent.body) if sent.headers.get("content-encoding") == "gzip" else sent.body
    told = json.loads(data)
    if sent.path.endswith("/tags"):
        told = {"tags": told}
    members = told.items() if isinstance(told, dict) else [("", told)]
    return found | {f"body {name}".strip(): _plain(name, value, account) for name, value in members}


def _plain(name: str, value: Any, account: Cloud) -> Any:
    """One is JSON in a text, whose layout is nobody's concern."""
    plain = json.loads(value) if name == "backend_configuration" else value
    return json.loads(unnamed(json.dumps(plain), account))
