"""The manifest's schema, and the quick yes that must never say yes where jsonschema says no."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from qrun.manifest import schema
from qrun.manifest.acceptor import acceptor
from qrun.manifest.schema import Shape, shapes

MANIFEST = json.loads(schema.text("manifest"))
JOB = {**MANIFEST, "$ref": "#/$defs/job"}
del JOB["oneOf"]


def described(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of the schema, with its path."""
    if isinstance(part, dict):
        for name, field in part.get("properties", {}).items():
            yield f"{path}.{name}", field
        for name, inner in part.items():
            if name != "examples":
                yield from described(inner, f"{path}/{name}")
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from described(inner, f"{path}[{index}]")


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(MANIFEST)


@pytest.mark.parametrize(("path", "field"), list(described(MANIFEST)))
def test_every_field_has_a_description_and_examples_that_are_valid(path: str, field: dict[str, Any]) -> None:
    target = MANIFEST["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field

    assert target["description"]
    assert target["examples"]
    whole = {key: value for key, value in MANIFEST.items() if key != "oneOf"}
    for example in target["examples"]:
        Draft202012Validator({**whole, **target}).validate(example)


def test_the_whole_schema_takes_both_forms() -> None:
    whole = Draft202012Validator(MANIFEST)

    assert whole.is_valid({"provider": "local", "device": "ddsim", "program": "p.qasm", "shots": 1})
    assert whole.is_valid({"jobs": {"a": {"shots": "{{ vars.n }}"}}, "defaults": {"provider": "local"}})
    assert not whole.is_valid({"jobs": {"a": {"shots": "many"}}})
    assert not whole.is_valid({"jobs": {"a": {}}, "shots": 1})


TEXTS = st.sampled_from(
    ["", "a", "p.qasm", "{{ x }}", "1", "0100", "10m", "0s", "2h", "X0 Z1", "I", "X0 X", "on", "a b", "é", "x\n", "-"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 200_000)
    | st.sampled_from([0.0, 1.0, -1.5, 0.5, 1e300, 2.0**53, 9007199254740993])
    | TEXTS
    | st.text(max_size=5)
)
NAMES = st.sampled_from(
    [*MANIFEST["$defs"]["job"]["properties"], "path", "template", "attempts", "with", "open", "pack", "include", "a b"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=3),
    max_leaves=12,
)
LIKELY: dict[str, Any] = {
    "provider": TEXTS,
    "device": TEXTS,
    "program": st.one_of(TEXTS, st.lists(TEXTS, max_size=2), st.fixed_dictionaries({"path": TEXTS}), VALUES),
    "shots": SCALARS,
    "params": st.dictionaries(TEXTS, SCALARS, max_size=2),
    "observable": st.lists(st.lists(SCALARS, max_size=3) | st.tuples(TEXTS, SCALARS).map(list), max_size=2),
    "tags": st.lists(SCALARS, max_size=2),
    "timeout": SCALARS,
    "retry": st.dictionaries(st.sampled_from(["attempts", "x"]), SCALARS, max_size=2),
    "submit": st.dictionaries(st.sampled_from(["with", "open", "pack"]), SCALARS, max_size=3),
    "matrix": st.dictionaries(st.sampled_from(["a", "b", "include", "exclude", "1"]), VALUES, max_size=3),
    "runs": st.lists(st.dictionaries(st.sampled_from(["params", "shots", "x"]), VALUES, max_size=2), max_size=2),
    "needs": st.one_of(TEXTS, st.lists(TEXTS, max_size=2)),
}
JOBS = st.fixed_dictionaries({}, optional=LIKELY) | VALUES


@settings(max_examples=200, deadline=None)
@given(JOBS)
def test_the_quick_yes_is_jsonschemas_verdict_on_jobs(job: Any) -> None:
    assert acceptor(JOB, JOB)(job) == Draft202012Validator(JOB).is_valid(job)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "name": SCALARS,
            "version": SCALARS,
            "vars": VALUES,
            "budget": VALUES,
            "defaults": JOBS,
            "jobs": st.dictionaries(TEXTS, JOBS, max_size=2),
        },
    )
)
def test_the_quick_yes_is_jsonschemas_verdict_on_experiments(document: Any) -> None:
    whole = {**MANIFEST, "$ref": "#/$defs/experiment"}
    del whole["oneOf"]

    assert acceptor(whole, whole)(document) == Draft202012Validator(whole).is_valid(document)


PARTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
        | st.lists(st.sampled_from(["string", "integer", "null", "object"]), min_size=1, max_size=3, unique=True),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "const": SCALARS,
        "minimum": st.integers(-2, 2),
        "maximum": st.integers(-2, 5),
        "exclusiveMinimum": st.integers(-2, 2),
        "exclusiveMaximum": st.integers(-2, 2),
        "minLength": st.integers(0, 3),
        "maxLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b$", "[0-9]+"]),
        "minItems": st.integers(0, 2),
        "maxItems": st.integers(0, 2),
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
        "uniqueItems": st.booleans(),
        "multipleOf": st.integers(1, 3),
        "required": st.lists(st.sampled_from(["a", "p.qasm"]), max_size=2, unique=True),
    },
)
SCHEMAS = st.recursive(
    PARTS | st.booleans(),
    lambda inner: st.builds(
        lambda part, more: {**part, **more},
        PARTS,
        st.fixed_dictionaries(
            {},
            optional={
                "properties": st.dictionaries(st.sampled_from(["a", "", "1"]), inner, max_size=2),
                "additionalProperties": inner,
                "propertyNames": inner,
                "items": inner,
                "prefixItems": st.lists(inner, min_size=1, max_size=2),
                "anyOf": st.lists(inner, min_size=1, max_size=2),
                "allOf": st.lists(inner, min_size=1, max_size=2),
                "oneOf": st.lists(inner, min_size=1, max_size=2),
                "not": inner,
            },
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=400, deadline=None)
@given(SCHEMAS, VALUES)
def test_a_quick_yes_is_never_wrong_whatever_the_schema(part: Any, value: Any) -> None:
    root = part if isinstance(part, dict) else {}

    assert not acceptor(part, root)(value) or Draft202012Validator(part).is_valid(value)


def test_a_schema_that_refers_to_itself_is_taken() -> None:
    tree = {"type": "array", "items": {"$ref": "#"}, "$defs": {"t": {"type": "array", "items": {"$ref": "#/$defs/t"}}}}
    accepts = acceptor({"$ref": "#/$defs/t"}, tree)

    assert accepts([[], [[]]])
    assert not accepts([[1]])


def test_before_rendering_a_template_may_stand_for_a_number_and_after_it_not() -> None:
    job = {"shots": "{{ vars.n }}"}

    assert shapes().job.verdicts(job) == []
    assert [verdict.message for verdict in shapes().rendered.verdicts(job)] == [
        '"{{ vars.n }}" is not a whole number above 0'
    ]


@pytest.mark.parametrize(
    ("part", "value", "wanted"),
    [
        ({"type": "integer", "minimum": 3}, 2, "2 is not a whole number of 3 or more"),
        ({"type": "string"}, 2, '2 is not a text; quote it: "2"'),
        ({"enum": ["dense", "sparse"]}, "dens", '"dens" is not one of "dense", "sparse"; did you mean "dense"?'),
        ({"type": ["string", "null"]}, [], "is empty; a text or empty is needed"),
        ({"type": "boolean"}, "no", '"no" is not true or false; "no" is text in YAML 1.2; write false'),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 2, "2 is not a number above 0 and of 1 or less"),
        ({"type": "object", "required": ["a"]}, {"b": 1}, '"a" is missing'),
    ],
)
def test_a_schema_without_words_of_its_own_is_told_in_ours(part: dict[str, Any], value: Any, wanted: str) -> None:
    (verdict,) = Shape(part, part).verdicts(value)

    assert "; ".join(filter(None, (verdict.message, verdict.hint))) == wanted


def test_unknown_schemas_are_not_looked_for() -> None:
    with pytest.raises(KeyError):
        schema.text("../pyproject")
