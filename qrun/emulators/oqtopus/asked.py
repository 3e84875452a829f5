"""What clients ask an OQTOPUS cloud for, read as its server reads it: which mistakes are 400, 422 or 500."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from qrun.emulators.oqtopus.jobs import STATUSES, Wanted
from qrun.emulators.oqtopus.shown import FIELDS
from qrun.emulators.wire import refuse

TYPES: Final = ("sampling", "estimation", "multi_manual", "sse")
SHOTS: Final = 10_000_000
COLUMNS: Final = {"name": 256, "description": 1024, "device_id": 64}  # what the database holds
LARGEST_PAGE: Final = 100
LONGEST_SEARCH: Final = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The body of a submit."""

    device_id: str
    job_type: str
    shots: int
    name: str = ""
    description: str = ""
    infos: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def submit(body: bytes) -> Asked:
    """Refuses with 422, all mistakes together. Members that the server does not know are passed over."""
    try:
        given = json.loads(body)
    except ValueError as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        invalid([problem("json_invalid", ("body", at), "JSON decode error")])
    if not isinstance(given, dict):
        invalid([problem("model_attributes_type", ("body",), "Input should be a valid dictionary")])
    problems: list[dict[str, Any]] = []
    texts = {name: _text(given, name, problems) for name in ("name", "description")}
    device = _required(given, "device_id", problems)
    if device is not None and not isinstance(device, str):
        problems.append(problem("string_type", ("body", "device_id"), "Input should be a valid string"))
    kind = _required(given, "job_type", problems)
    if kind is not None and kind not in TYPES:
        words = f"Input should be {', '.join(repr(word) for word in TYPES[:-1])} or {TYPES[-1]!r}"
        problems.append(problem("enum", ("body", "job_type"), words))
    shots = _shots(_required(given, "shots", problems), problems)
    infos = {name: _object(given, name, problems) for name in ("transpiler_info", "simulator_info", "mitigation_info")}
    if problems:
        invalid(problems)
    assert isinstance(device, str)
    assert shots is not None
    asked = Asked(device_id=device, job_type=str(kind), shots=shots, infos=infos, **texts)
    _fit(asked)
    return asked


def problem(kind: str, place: tuple[str | int, ...], words: str) -> dict[str, Any]:
    return {"type": kind, "loc": list(place), "msg": words}


def invalid(problems: list[dict[str, Any]]) -> NoReturn:
    refuse(422, {"detail": problems})


def _required(given: Mapping[str, Any], name: str, problems: list[dict[str, Any]]) -> Any:
    if name not in given:
        problems.append(problem("missing", ("body", name), "Field required"))
        return None
    if given[name] is None:
        kind, words = ("int_type", "integer") if name == "shots" else ("string_type", "string")
        problems.append(problem(kind, ("body", name), f"Input should be a valid {words}"))
    return given[name]


def _text(given: Mapping[str, Any], name: str, problems: list[dict[str, Any]]) -> str:
    value = given.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        problems.append(problem("string_type", ("body", name), "Input should be a valid string"))
        return ""
    return value


def _object(given: Mapping[str, Any], name: str, problems: list[dict[str, Any]]) -> dict[str, Any]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(problem("dict_type", ("body", name), "Input should be a valid dictionary"))
        return {}
    return value


def _shots(value: Any, problems: list[dict[str, Any]]) -> int | None:
    """Whole numbers, also where they are given as text or as 1000.0."""
    if value is None:
        return None
    place = ("body", "shots")
    try:
        shots = int(value) if not isinstance(value, bool) and float(value).is_integer() else None
    except (ValueError, TypeError, OverflowError):
        shots = None
    if shots is None:
        problems.append(problem("int_parsing", place, "Input should be a valid integer"))
    elif shots < 1:
        problems.append(problem("greater_than_equal", place, "Input should be greater than or equal to 1"))
    elif shots > SHOTS:
        problems.append(problem("less_than_equal", place, f"Input should be less than or equal to {SHOTS}"))
    return shots


def _fit(asked: Asked) -> None:
    for name, most in COLUMNS.items():
        if len(getattr(asked, name)) > most:
            refuse(500, {"message": f"Data too long for column '{name}' at row 1"})


# --- lists ------------------------------------------------------------------------------------------------------------


def wanted(query: Mapping[str, str]) -> Wanted:
    text = query.get("q", "")
    if len(text) > LONGEST_SEARCH:
        words = f"String should have at most {LONGEST_SEARCH} characters"
        invalid([problem("string_too_long", ("query", "q"), words)])
    status = query.get("status")
    if status is not None and status not in STATUSES:
        invalid([problem("enum", ("query", "status"), "Input should be a known job status")])
    return Wanted(
        fields=_fields(query["fields"]) if "fields" in query else None,
        text=text,
        status=status,
        start=_time(query["start_time"]) if "start_time" in query else None,
        end=_time(query["end_time"]) if "end_time" in query else None,
        page=_number(query.get("page", "1"), None),
        size=_number(query.get("size", str(LARGEST_PAGE)), LARGEST_PAGE),
        newest_first=query.get("order") == "DESC",
    )


def _fields(text: str) -> tuple[str, ...]:
    given = tuple(text.split(","))
    if unknown := [name for name in given if name not in FIELDS]:
        refuse(400, {"message": f"fields {unknown} is invalid"})
    return given


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        refuse(500, {"message": str(error)})
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _number(text: str, most: int | None) -> int:
    try:
        number = int(text)
    except ValueError as error:
        refuse(500, {"message": str(error)})
    if number < 1 or (most is not None and number > most):
        refuse(500, {"message": "1 validation error for Params"})
    return number
