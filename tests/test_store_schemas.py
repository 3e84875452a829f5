"""The published schemas say what the stream of events holds: every type, every field, and nothing else."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import jsonschema
import pytest

from qrun import events

SCHEMA = json.loads((Path(__file__).parent.parent / "schemas" / "event.schema.json").read_bytes())
KINDS = get_args(events.Event)


def sample(kind: type[Any], *, full: bool) -> Any:
    """An event of this kind with a value in every field, or only in those that are always there."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        choices = [choice for choice in get_args(hint) or (hint,) if choice is not NoneType]
        if NoneType in get_args(hint) and not full:
            continue
        if name in events.PAIRS:
            values[name] = (("00", 5),)
        else:
            values[name] = (
                {str: "x", int: 1, float: 0.5}.get(choices[0], ("x",)) if "tuple" not in str(hint) else ("x",)
            )
    return kind(**values)


def test_the_schema_knows_each_event_and_describes_each_field() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    assert {events.word(sample(kind, full=False)) for kind in KINDS} == set(SCHEMA["$defs"])
    for kind in KINDS:
        described = SCHEMA["$defs"][events.word(sample(kind, full=False))]
        assert described["description"]
        assert {name for name in described["properties"] if name != "type"} == {item.name for item in fields(kind)}
        assert all(item.get("description") for name, item in described["properties"].items() if name != "type")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full", [True, False])
def test_each_line_of_the_stream_follows_the_schema(kind: type[Any], full: bool) -> None:
    line = json.loads(json.dumps(events.to_json(sample(kind, full=full))))

    jsonschema.validate(line, SCHEMA)


def test_a_line_without_its_fields_does_not_follow_the_schema() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"type": "sent", "experiment": "sweep"}, SCHEMA)
