"""The manifest's schema: where it is kept, and its verdict in our words.

A schema says what is wanted in `x-means` ("a whole number above 0") and what a map is called in `x-name` ("a job").
From these come the messages; where a provider's schema has none, the words follow from its keywords.
"""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from qrun.manifest.acceptor import Accept, acceptor
from qrun.manifest.words import did_you_mean, nearest, show

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Path = tuple[str | int, ...]

NAMES: Final = ("manifest", "lock", "record", "event", "project")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One thing that a schema objects to. `at_key`: the key is wrong, not its value."""

    path: Path
    message: str
    hint: str | None = None
    at_key: bool = False


def folder() -> str:
    """Where the schemas lie: inside the package when it is installed, else beside it in the repository."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    inside = os.path.join(package, "schemas")
    return inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "schemas")


def text(name: str) -> str:
    """A schema as it is published; KeyError for one that does not exist."""
    if name not in NAMES:
        raise KeyError(name)
    with open(os.path.join(folder(), f"{name}.schema.json"), encoding="utf-8") as file:
        return file.read()


class Shape:
    """A schema to hold values against."""

    def __init__(self, schema: Any, root: Mapping[str, Any]) -> None:
        self.schema = schema
        self.root = root
        self.accepts: Accept = acceptor(schema, root)
        self._judge: Any = None

    def verdicts(self, value: Any, path: Path = ()) -> list[Verdict]:
        """What is wrong, by jsonschema's judgement; empty where nothing is."""
        if self.accepts(value):
            return []
        found = [verdict for error in self._errors(value) for verdict in _told(error, path, self.root)]
        return list(dict.fromkeys(found))

    def _errors(self, value: Any) -> Iterator[ValidationError]:
        if self._judge is None:
            from jsonschema import Draft202012Validator
            from referencing import Registry

            schema = {**self.root, **self.schema} if "$defs" in self.root else self.schema
            registry: Registry[Any] = Registry()
            self._judge = Draft202012Validator(schema, registry=registry)
        return iter(self._judge.iter_errors(value))


@dataclass(frozen=True, kw_only=True, slots=True)
class Shapes:
    """What the parts of a manifest must look like; `job` before templates are filled in, `rendered` after."""

    experiment: Shape  # without the jobs themselves
    short: Shape
    name: Shape  # of an experiment
    names: Shape  # the keys of `jobs`
    job: Shape
    rendered: Shape
    matrix: Shape


@lru_cache(maxsize=1)
def shapes() -> Shapes:
    root = json.loads(text("manifest"))
    strict = copy.deepcopy(root)
    strict["$defs"]["template"] = False
    head = copy.deepcopy(root)
    head["$defs"]["jobs"] = {key: item for key, item in head["$defs"]["jobs"].items() if key != "additionalProperties"}
    del head["$defs"]["jobs"]["propertyNames"]
    del head["oneOf"], root["oneOf"], strict["oneOf"]
    names = {key: item for key, item in root["$defs"]["jobs"].items() if key != "additionalProperties"}
    return Shapes(
        experiment=Shape({"$ref": "#/$defs/experiment"}, head),
        short=Shape({"$ref": "#/$defs/short"}, root),
        name=Shape({"$ref": "#/$defs/name"}, root),
        names=Shape(names, root),
        job=Shape({"$ref": "#/$defs/job"}, root),
        rendered=Shape({"$ref": "#/$defs/job"}, strict),
        matrix=Shape({"$ref": "#/$defs/matrix"}, strict),
    )


@lru_cache(maxsize=1)
def fields() -> frozenset[str]:
    """The fields of a job."""
    return frozenset(json.loads(text("manifest"))["$defs"]["job"]["properties"])


def _told(error: ValidationError, path: Path, root: Mapping[str, Any]) -> Iterator[Verdict]:
    """One error of jsonschema as one or several of ours."""
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    here = (*path, *error.path)
    if "propertyNames" in list(error.schema_path)[-2:]:
        name = str(error.instance)
        yield Verdict(path=(*here, name), message=f"{show(name)} is not {_means(schema, root)}", at_key=True)
        return
    value: Any = error.instance
    match error.validator:
        case "additionalProperties":
            known = schema.get("properties", {})
            yield from (_unknown(here, key, schema, known) for key in value if key not in known)
        case "required":
            missing = [name for name in schema["required"] if name not in value]
            yield from (Verdict(path=here, message=f"{show(name)} is missing") for name in missing)
        case "anyOf" | "oneOf":
            branch = _branch(error)
            if branch:
                for below in branch:
                    yield from _told(below, here, root)
            else:
                yield _wrong(here, value, schema, root)
        case _:
            yield _wrong(here, value, schema, root)


def _branch(error: ValidationError) -> list[ValidationError]:
    """The errors of the one alternative whose type the value has; empty where none or several have it."""
    branches: dict[Any, list[ValidationError]] = {}
    for below in error.context or ():
        branches.setdefault(below.schema_path[0], []).append(below)
    if not isinstance(error.instance, (dict, list)):
        return []
    fitting = [
        errors
        for errors in branches.values()
        if not any(below.validator in ("type", None) and not below.path for below in errors)
    ]
    return fitting[0] if len(fitting) == 1 else []


def _unknown(path: Path, key: str, schema: Mapping[str, Any], known: Iterable[str]) -> Verdict:
    name = schema.get("x-name", "this map")
    hint = did_you_mean(key, known, "there are")
    return Verdict(path=(*path, key), message=f"is not a field of {name}", hint=hint, at_key=True)


def _wrong(path: Path, value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Verdict:
    means = _means(schema, root)
    if value is None or (value in ([], {}, "") and not isinstance(value, (bool, int))):
        return Verdict(path=path, message=f"is empty; {means} is needed")
    return Verdict(path=path, message=f"{show(value)} is not {means}", hint=_cure(value, schema, root))


def _means(schema: Mapping[str, Any], root: Mapping[str, Any]) -> str:
    """What a schema asks for, in words."""
    schema = _followed(schema, root)
    if "x-means" in schema:
        return str(schema["x-means"])
    if "const" in schema:
        return show(schema["const"])
    if "enum" in schema:
        return "one of " + ", ".join(show(item) for item in schema["enum"])
    if "anyOf" in schema or "oneOf" in schema:
        branches = schema.get("anyOf") or schema.get("oneOf") or []
        return " or ".join(dict.fromkeys(_means(branch, root) for branch in branches if isinstance(branch, Mapping)))
    return _kinds(schema) + _limits(schema)


def _kinds(schema: Mapping[str, Any]) -> str:
    words = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "boolean": "true or false",
        "array": "a list",
        "object": "a map",
        "null": "empty",
    }
    wanted = schema.get("type", [])
    kinds = [wanted] if isinstance(wanted, str) else wanted
    return " or ".join(words[kind] for kind in kinds) or "what is allowed here"


def _limits(schema: Mapping[str, Any]) -> str:
    parts = []
    for key, words in (
        ("exclusiveMinimum", "above {}"),
        ("minimum", "of {} or more"),
        ("exclusiveMaximum", "below {}"),
        ("maximum", "of {} or less"),
        ("minLength", "of {} characters or more"),
        ("maxLength", "of {} characters or less"),
        ("minItems", "of {} items or more"),
        ("maxItems", "of {} items or less"),
        ("pattern", "of the form {}"),
    ):
        if key in schema:
            parts.append(words.format(schema[key]))
    return " " + " and ".join(parts) if parts else ""


def _types(schema: Mapping[str, Any], root: Mapping[str, Any]) -> frozenset[str]:
    """The JSON types that a schema takes, templates left aside."""
    if schema.get("$ref") == "#/$defs/template":
        return frozenset()
    schema = _followed(schema, root)
    wanted = schema.get("type", [])
    found = frozenset([wanted] if isinstance(wanted, str) else wanted)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        if isinstance(branch, Mapping):
            found |= _types(branch, root)
    return found


def _followed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema and "x-means" not in schema:
        target: Any = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        if not isinstance(target, Mapping):
            return {}
        schema = target
    return schema


QUOTES: Final = "take away the quotes"
FEW: Final = 12  # names that a hint lists
NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
CLOCK: Final = re.compile(r"[0-9]{1,6}(?::[0-5]?[0-9]){1,2}")
GROUPED: Final = re.compile(r"[-+]?[0-9]{1,18}(?:_[0-9]{1,18})+")
BINARY: Final = re.compile(r"0b[01]{1,52}")
TRUTHS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("yes", "on", "y"), "true"),
    **dict.fromkeys(("no", "off", "n"), "false"),
}


def _cure(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> str | None:
    """What to write instead: a word that is near, what YAML 1.1 would have read, or a quote more or less."""
    types = _types(schema, root)
    if types == {"object"} and (names := _followed(schema, root).get("properties")):
        return f"its fields are: {', '.join(sorted(names))}" if len(names) <= FEW else None
    if types == {"array"} and isinstance(value, str) and _of_texts(schema, root):
        return f"put it into brackets: [{show(value)}]"
    if isinstance(value, str):
        if "enum" in schema:
            close = nearest(value, (item for item in schema["enum"] if isinstance(item, str)))
            return None if close is None else f"did you mean {show(close)}?"
        if "boolean" in types and value.lower() in TRUTHS:
            return f"{show(value)} is text in YAML 1.2; write {TRUTHS[value.lower()]}"
        if types & {"integer", "number"} and len(value) < 40:
            return _cure_of_number(value)
        return None
    if isinstance(value, (bool, int, float)) and "string" in types and not types & {"integer", "number", "boolean"}:
        return f"quote it: {show(_written(value))}"
    return None


def _of_texts(schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    schema = _followed(schema, root)
    lists = [schema, *(branch for branch in schema.get("anyOf", ()) if isinstance(branch, Mapping))]
    return any(
        "string" in _types(branch["items"], root) for branch in lists if isinstance(branch.get("items"), Mapping)
    )


def _cure_of_number(value: str) -> str | None:
    written: str | None = None
    if CLOCK.fullmatch(value):
        total = 0
        for part in value.split(":"):
            total = total * 60 + int(part)
        written = str(total)
    elif GROUPED.fullmatch(value):
        written = value.replace("_", "")
    elif BINARY.fullmatch(value):
        written = str(int(value, 2))
    elif NUMBER.fullmatch(value):
        padded = re.fullmatch(r"([-+]?)0+([0-9]+)", value)
        if padded is None:
            return f"{QUOTES}: {value}"
        written = padded.expand(r"\1\2")
    return f"{show(value)} is text in YAML 1.2; write {written}" if written is not None else None


def _written(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, bool) else str(value).lower()
