"""A quick yes for the common case: what jsonschema would certainly accept, seen without asking it.

jsonschema is the judge of manifests, but it costs 57 µs a job and its import alone costs more than most commands. Here
the same schema becomes nested functions that answer True only where jsonschema accepts. Anything else (a wrong value, a
keyword that is not known here) answers False, and then jsonschema is asked, says what is wrong, and has the last word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

Accept: TypeAlias = Callable[[Any], bool]

SILENT: Final = frozenset(
    {"$schema", "$id", "$defs", "$comment", "title", "description", "examples", "default", "deprecated"}
)
TYPES: Final[Mapping[str, Accept]] = {
    "string": lambda value: type(value) is str,
    "integer": lambda value: type(value) is int or (type(value) is float and value.is_integer()),
    "number": lambda value: type(value) is int or (type(value) is float and math.isfinite(value)),
    "boolean": lambda value: type(value) is bool,
    "null": lambda value: value is None,
    "array": lambda value: type(value) is list,
    "object": lambda value: type(value) is dict,
}


def acceptor(schema: Any, root: Mapping[str, Any]) -> Accept:
    """The quick yes for a schema; `root` is where its local references point into."""
    return _Compiler(root).accept(schema)


def _always(_: Any) -> bool:
    return True


def _never(_: Any) -> bool:
    return False


class _Compiler:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.references: dict[str, Accept] = {}

    def accept(self, schema: Any) -> Accept:
        if isinstance(schema, bool):
            return _always if schema else _never
        if not isinstance(schema, Mapping):
            return _never
        said = {key: item for key, item in schema.items() if key not in SILENT and not key.startswith("x-")}
        if not MAPS.isdisjoint(said):
            tests = [self.map(said)]
        elif set(said) <= {"type", "minLength", "maxLength", "pattern"} and said.get("type") == "string":
            return _string(said)
        else:
            tests = []
        tests += [self.keyword(key, item, said) for key, item in said.items() if key not in MAPS]
        if not tests:
            return _always
        return tests[0] if len(tests) == 1 else _both(tests)

    def keyword(self, key: str, value: Any, schema: Mapping[str, Any]) -> Accept:
        match key:
            case "$ref":
                return self.reference(value)
            case "type":
                return _either([TYPES[name] for name in value]) if isinstance(value, list) else TYPES[value]
            case "enum":
                return _either([_equal(item) for item in value])
            case "const":
                return _equal(value)
            case "anyOf":
                return _either([self.accept(branch) for branch in value])
            case "allOf":
                return _both([self.accept(branch) for branch in value])
            case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
                return _compared(key, value)
            case "minLength" | "maxLength" | "pattern":
                return _text({key: value})
            case "minItems" | "maxItems" | "minProperties" | "maxProperties":
                return _sized(key, value)
            case "items":
                return self.items(value, len(schema.get("prefixItems", ())))
            case "prefixItems":
                return self.first_items(value)
            case _:
                return _never

    def reference(self, pointer: str) -> Accept:
        """Compiled once, on first use, so that a schema may refer to itself."""
        if not pointer.startswith("#/"):
            return _never
        if pointer not in self.references:
            found: list[Accept] = []

            def accept(value: Any) -> bool:
                return found[0](value)

            self.references[pointer] = accept
            target: Any = self.root
            for step in pointer[2:].split("/"):
                target = target[step]
            found.append(self.accept(target))
            self.references[pointer] = found[0]
        return self.references[pointer]

    def map(self, schema: Mapping[str, Any]) -> Accept:
        tests = {name: self.accept(below) for name, below in schema.get("properties", {}).items()}
        rest = self.accept(schema.get("additionalProperties", True))
        name_test = self.accept(schema.get("propertyNames", True))
        named = "propertyNames" in schema
        required = frozenset(schema.get("required", ()))

        def accept(value: Any) -> bool:
            if type(value) is not dict:
                return not isinstance(value, Mapping)
            for name, item in value.items():
                if not tests.get(name, rest)(item) or (named and not name_test(name)):
                    return False
            return required <= value.keys()

        return accept

    def items(self, schema: Any, start: int) -> Accept:
        test = self.accept(schema)

        def accept(value: Any) -> bool:
            if type(value) is not list:
                return True
            return all(map(test, value[start:] if start else value))

        return accept

    def first_items(self, schemas: list[Any]) -> Accept:
        tests = [self.accept(schema) for schema in schemas]

        def accept(value: Any) -> bool:
            return type(value) is not list or all(test(item) for test, item in zip(tests, value, strict=False))

        return accept


MAPS: Final = frozenset({"properties", "additionalProperties", "propertyNames", "required"})


def _both(tests: list[Accept]) -> Accept:
    def accept(value: Any) -> bool:
        return all(test(value) for test in tests)

    return accept


def _either(tests: list[Accept]) -> Accept:
    def accept(value: Any) -> bool:
        return any(test(value) for test in tests)

    return accept


def _equal(wanted: Any) -> Accept:
    """Only for texts and numbers: 1 and true are different, 1 and 1.0 are the same."""
    if isinstance(wanted, str):
        return lambda value: type(value) is str and value == wanted
    if isinstance(wanted, (int, float)) and not isinstance(wanted, bool):
        return lambda value: type(value) in (int, float) and value == wanted
    if wanted is None or isinstance(wanted, bool):
        return lambda value: value is wanted
    return _never


def _compared(key: str, bound: float) -> Accept:
    match key:
        case "minimum":
            return lambda value: type(value) not in (int, float) or value >= bound
        case "maximum":
            return lambda value: type(value) not in (int, float) or value <= bound
        case "exclusiveMinimum":
            return lambda value: type(value) not in (int, float) or value > bound
        case _:
            return lambda value: type(value) not in (int, float) or value < bound


def _sized(key: str, bound: int) -> Accept:
    kind = list if key.endswith("Items") else dict
    if key.startswith("min"):
        return lambda value: type(value) is not kind or len(value) >= bound
    return lambda value: type(value) is not kind or len(value) <= bound


def _text(schema: Mapping[str, Any]) -> Accept:
    test = _string(schema)
    return lambda value: type(value) is not str or test(value)


def _string(schema: Mapping[str, Any]) -> Accept:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    if "pattern" not in schema:
        return lambda value: type(value) is str and least <= len(value) <= most
    search = re.compile(schema["pattern"]).search
    return lambda value: type(value) is str and least <= len(value) <= most and search(value) is not None
