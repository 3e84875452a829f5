"""The single fields of what a Pasqal cloud is asked for: each is read, and what is wrong with it is added to a list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from qrun.emulators.pasqal.devices import CONFIGURED, DEVICES, Device
from qrun.emulators.pasqal.envelope import problem, refuse
from qrun.emulators.pasqal.sequence import SequenceError, declared

Problems = list[dict[str, Any]]


def done(problems: Problems) -> None:
    """Refuses if there are any."""
    if problems:
        refuse(422, problems)


def sequence(given: Any, problems: Problems, *place: str | int) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str):
        problems.append(problem("The sequence is a JSON document as a text", *place, kind="type_error.str"))
        return None
    try:
        declared(given)
    except SequenceError as error:
        problems.append(problem(str(error), *place))
        return None
    return given


def device(given: Any, text: str | None, problems: Problems) -> Device | None:
    """Where none is named, the one that the sequence was written for."""
    place = ("body", "device_type")
    if given is None and text is not None:
        given = declared(text).device
    if given is None and not problems:
        problems.append(problem("A device type is needed where the batch has no sequence", *place))
    if given is not None and (not isinstance(given, str) or given not in DEVICES):
        words = f"{given!r:.80} is not a device type; there are {', '.join(DEVICES)}"
        problems.append(problem(words, *place, kind="type_error.enum"))
        return None
    return None if given is None else DEVICES[given]


def flag(given: Any, problems: Problems) -> bool:
    if given is not None and not isinstance(given, bool):
        problems.append(problem("A truth is needed", "body", "open", kind="type_error.bool"))
    return given is True


def tags(given: Any, problems: Problems, *place: str) -> tuple[str, ...]:
    if given is None:
        return ()
    if not isinstance(given, list) or not all(isinstance(tag, str) and tag for tag in given):
        problems.append(problem("A list of texts is needed", *place, kind="type_error.list"))
        return ()
    if len(set(given)) < len(given):
        problems.append(problem("The tags are not unique", *place, kind="value_error.list.unique_items"))
    return tuple(given)


def webhook(given: Any, problems: Problems) -> str | None:
    """It is kept and shown; nothing is ever sent there."""
    if given is None:
        return None
    if not isinstance(given, str) or not given.startswith(("http://", "https://")):
        problems.append(problem("A URL is needed", "body", "webhook", kind="value_error.url"))
        return None
    return given


def configuration(given: Any, problems: Problems) -> Mapping[str, Any] | None:
    if given is not None and not isinstance(given, dict):
        problems.append(problem("An object is needed", "body", "configuration", kind="type_error.dict"))
        return None
    return given


def backend_configuration(given: Any, device: Device | None, problems: Problems) -> str | None:
    place = ("body", "backend_configuration")
    if given is None:
        return None
    try:
        plain = json.loads(given) if isinstance(given, str) else None
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict):
        problems.append(problem("A JSON object as a text is needed", *place))
        return None
    if device is not None and device.name not in CONFIGURED:
        problems.append(problem(f"{device.name} takes no backend configuration", *place))
        return None
    text: str = given
    return text


def uuid(given: Any, problems: Problems, *place: str | int) -> str:
    try:
        return str(UUID(given))
    except (ValueError, TypeError, AttributeError):
        problems.append(problem("A UUID is needed", *place, kind="type_error.uuid"))
        return ""


def uuids(given: Sequence[str], *place: str) -> frozenset[str]:
    problems: Problems = []
    found = frozenset(uuid(each, problems, *place) for each in given)
    done(problems)
    return found
