"""The shape of a settings file: the verdict of schemas/project.schema.json, in our words.

The schema is followed by a small walk of our own, which makes our messages and costs less than the import of
jsonschema; a test holds the two verdicts against each other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from qrun.errors import Problem
from qrun.settings.file import File
from qrun.settings.hosts import HOSTS
from qrun.settings.source import SIZE, WAYS
from qrun.settings.words import Path, did_you_mean, field_name, masked, show

Verdict = tuple[Path, str, str | None]  # with the hint
TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "any": object,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
INSTEAD: Final = 'write { env = "QRUN_…" } with the name of a variable, or give the connection in your own settings'


def shape(file: File) -> Iterator[Problem]:
    if file.problems:
        return
    schema = project_schema()
    top = schema["$defs"]["user"] if file.own else schema
    for path, message, hint in Walk(schema, file.own).verdicts(top, file.table, ()):
        yield file.problem(path, message, hint)


@lru_cache(maxsize=1)
def project_schema() -> dict[str, Any]:
    """Inside the package where it is installed, else beside it in the repository."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(package, "schemas")
    folder = inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "schemas")
    with open(os.path.join(folder, "project.schema.json"), encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
        return schema


class Walk:
    """What the schema objects to. A secret's value stands in no message."""

    def __init__(self, root: Mapping[str, Any], own: bool) -> None:
        self.root = root
        self.own = own

    def verdicts(self, schema: Mapping[str, Any], value: Any, path: Path) -> Iterator[Verdict]:
        name = schema.get("$ref", "").rpartition("/")[2]
        if name == "secret" or (name == "login" and isinstance(value, dict)):
            yield from self.secret(value, path)
        elif name == "url":
            if not self.fits(self.root["$defs"]["url"], value):
                yield path, f"{masked(value)} is not {_means(self.root['$defs']['url'])}", None
        elif name:
            yield from self.verdicts({**self.root["$defs"][name]}, value, path)
        elif "anyOf" in schema:
            yield from self.branches(schema, value, path)
        elif not self.fits(schema, value):
            wrong = f"{show(value)} is not {_means(schema)}"
            yield path, wrong if value != [] else f"is empty; {_means(schema)} is needed", None
        elif isinstance(value, dict):
            yield from self.members(schema, value, path)
        elif isinstance(value, list):
            for at, item in enumerate(value):
                yield from self.verdicts(schema.get("items", {}), item, (*path, at))

    def fits(self, schema: Mapping[str, Any], value: Any) -> bool:
        """All that can be said of a value without looking into it."""
        wanted = TYPES[schema.get("type", "any")]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted not in (bool, object)):
            return False
        if value not in schema.get("enum", [value]) or value != schema.get("const", value):
            return False
        if isinstance(value, str):
            return _reads(schema, value)
        if isinstance(value, list):
            return len(value) >= int(schema.get("minItems", 0))
        return not isinstance(value, (int, float)) or _between(schema, value)

    def members(self, schema: Mapping[str, Any], table: dict[str, Any], path: Path) -> Iterator[Verdict]:
        known: Mapping[str, Any] = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        for key in schema.get("required", ()):
            if key not in table:
                yield path, f'"{key}" is missing', None
        for key, item in table.items():
            below = known.get(key, rest)
            if below is False:
                what = schema.get("x-name", "this table")
                yield (*path, key), f"is not a field of {what}", did_you_mean(key, known)
            elif isinstance(below, dict):
                for bad in self.names(schema, key):
                    yield (*path, key), bad, None
                yield from self.verdicts(below, item, (*path, key))

    def names(self, schema: Mapping[str, Any], key: str) -> Iterator[str]:
        if "propertyNames" in schema:
            yield from (message for _, message, _ in self.verdicts(schema["propertyNames"], key, ()))

    def branches(self, schema: Mapping[str, Any], value: Any, path: Path) -> Iterator[Verdict]:
        """A connection is told by its type; of other alternatives any will do."""
        tables = {ref["$ref"].rpartition("/")[2]: ref for ref in schema["anyOf"] if "$ref" in ref}
        kinds = {kind: ref for kind, ref in tables.items() if kind in HOSTS}
        if kinds:
            yield from self.connection(schema, kinds, value, path)
        elif all(any(self.verdicts(branch, value, path)) for branch in schema["anyOf"]):
            yield path, f"{show(value)} is not {_means(schema)}", None

    def connection(
        self, schema: Mapping[str, Any], kinds: Mapping[str, Any], value: Any, path: Path
    ) -> Iterator[Verdict]:
        if not isinstance(value, dict):
            hint = f'write [{field_name(path)}] and type = "local" below it'
            yield path, f"{show(value)} is not {_means(schema)}", hint
        elif "type" not in value:
            yield path, '"type" is missing', f"there are {', '.join(sorted(kinds))}"
        elif value["type"] not in list(kinds):
            message = f"{show(value['type'])} is not a type of connection"
            yield (*path, "type"), message, did_you_mean(str(value["type"]), kinds)
        else:
            yield from self.verdicts(kinds[value["type"]], value, path)

    def secret(self, value: Any, path: Path) -> Iterator[Verdict]:
        """The same rules as `secret` and `own_secret` of the schema, in words that fit."""
        if isinstance(value, str) and not self.own:
            yield path, "a secret may not stand in this file", INSTEAD
        elif isinstance(value, str):
            if not 0 < len(value) <= SIZE:
                yield path, "is empty or too long for a secret", None
        elif not isinstance(value, dict):
            yield path, "is not where a secret comes from", INSTEAD
        else:
            yield from self.source(value, path)

    def source(self, value: dict[str, Any], path: Path) -> Iterator[Verdict]:
        ways = [key for key in WAYS if key in value]
        for key in value:
            if key in ("command", "file", "service") and not self.own:
                yield (*path, key), f'"{key}" may not stand in this file', INSTEAD
            elif key not in (*WAYS, "service"):
                yield (*path, key), "is not a field of a secret's source", did_you_mean(key, WAYS)
        if len(ways) != 1 or ("service" in value and "keyring" not in value):
            yield path, "is not one source of a secret", INSTEAD
            return
        schema = self.root["$defs"]["own_secret"]["anyOf"][1] if self.own else self.root["$defs"]["secret"]
        for key, item in value.items():
            if key in schema["properties"]:
                yield from self.verdicts(schema["properties"][key], item, (*path, key))


def _reads(schema: Mapping[str, Any], text: str) -> bool:
    if not schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text)):
        return False
    # `$` also matches before a line's end
    return "pattern" not in schema or (text.isprintable() and re.search(schema["pattern"], text) is not None)


def _between(schema: Mapping[str, Any], value: float) -> bool:
    least, most = schema.get("minimum", value), schema.get("maximum", value)
    return bool(least <= value <= most and not value <= schema.get("exclusiveMinimum", value - 1))


def _means(schema: Mapping[str, Any]) -> str:
    if "x-means" in schema:
        return str(schema["x-means"])
    return "one of " + ", ".join(map(show, schema["enum"])) if "enum" in schema else "what is needed here"
