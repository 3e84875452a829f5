"""YAML: which values a text has, what is refused, and where things are written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrun.errors import ManifestError
from qrun.manifest import yaml


def value(text: str) -> Any:
    (document,) = yaml.compose(text.encode(), "m.yaml")
    return document.value


def complaints(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        yaml.compose(text.encode(), "m.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    "text", ["on", "No", "yes", "y", "1:30", "0100", "2020-01-01", "1_000", "0b101", "1.2.3", "-x"]
)
def test_what_yaml_1_1_would_turn_into_something_else_stays_text(text: str) -> None:
    assert value(f"a: {text}") == {"a": text}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("1", 1),
        ("-17", -17),
        ("+5", 5),
        ("0o17", 15),
        ("0xff", 255),
        ("1e-3", 0.001),
        ("1.", 1.0),
        (".5", 0.5),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n  1\n", "1\n"),
    ],
)
def test_plain_scalars_have_the_values_of_yaml_1_2(text: str, wanted: object) -> None:
    found = value(f"a: {text}")["a"]

    assert (type(found), found) == (type(wanted), wanted)


def test_keys_are_text_as_written() -> None:
    assert value("1: a\ntrue: b\nnull: c\n1.50: d") == {"1": "a", "true": "b", "null": "c", "1.50": "d"}


def test_equal_keys_are_named_with_both_places_also_across_quoting() -> None:
    assert complaints("a: 1\nb:\n  1: x\n  '1': y\n\"a\": 2\n") == [
        'm.yaml:4:3: "1" stands twice in one map; the first is at 3:3; keep one of them',
        'm.yaml:5:1: "a" stands twice in one map; the first is at 1:1; keep one of them',
    ]


def test_tags_are_refused() -> None:
    assert complaints("a: !!python/object/apply:os.system ['ls']\nb: !mine x\n? !!str c\n: d\n") == [
        'm.yaml:1:4: the tag "!!python/object/apply:os.system" is not allowed; a manifest holds plain values',
        'm.yaml:2:4: the tag "!mine" is not allowed; a manifest holds plain values',
        "m.yaml:3:3: a key must be plain text, without anchor, alias or tag",
    ]


def test_merge_keys_are_refused_with_the_way_out() -> None:
    assert complaints("a: &a {x: 1}\nb:\n  <<: *a\n") == [
        'm.yaml:3:3: merge keys ("<<") are not part of YAML 1.2; use "defaults", or repeat the fields'
    ]
    assert value("'<<': 1") == {"<<": 1}


def test_aliases_repeat_a_value() -> None:
    assert value("a: &x [1, {b: 2}]\nc: *x\nd: &y text\ne: *y") == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": "text",
        "e": "text",
    }


def test_aliases_that_multiply_are_stopped() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n"
        for below, name in zip("abcdefgh", "bcdefghi", strict=True)
    )

    assert complaints(bomb) == [
        'm.yaml:6:8: aliases stand for more than 100000 values; use "defaults" or "matrix"',
    ]


def test_more_than_a_hundred_aliases_are_refused() -> None:
    assert complaints("a: &a 1\nb: [" + "*a, " * 101 + "]") == [
        'm.yaml:2:405: more than 100 aliases; use "defaults" or "matrix"'
    ]


def test_many_small_values_are_refused_before_they_fill_the_memory() -> None:
    assert complaints("a: [" + "1," * 1_500_001 + "1]") == [
        "m.yaml:1:3000005: holds more than 1500000 values; use matrix, or several files"
    ]


def test_an_alias_must_repeat_something_and_not_itself() -> None:
    assert complaints("a: *b\nb: &c [*c]\n") == [
        'm.yaml:1:4: "*b" repeats nothing; write "&b" before it',
        'm.yaml:2:8: "*c" stands inside of what it repeats',
    ]


def test_aliases_do_not_hide_depth() -> None:
    text = f"a: &a {'[' * 40}1{']' * 40}\nb: {'[' * 40}*a{']' * 40}\n"

    assert complaints(text) == ["m.yaml:2:44: more than 64 maps and lists stand in each other"]
    assert complaints(f"a: {'[' * 64}") == ["m.yaml:1:67: more than 64 maps and lists stand in each other"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: .inf", 'm.yaml:1:4: ".inf" is not a finite number; quote it if it is text'),
        ("a: -.INF", 'm.yaml:1:4: "-.INF" is not a finite number; quote it if it is text'),
        ("a: .nan", 'm.yaml:1:4: ".nan" is not a finite number; quote it if it is text'),
        ("a: 1e999", 'm.yaml:1:4: "1e999" is beyond the range of numbers; quote it if it is text'),
        (
            "a: 9007199254740992",
            'm.yaml:1:4: "9007199254740992" is beyond ±(2^53 - 1), which not every reader keeps; '
            "quote it if it is text",
        ),
    ],
)
def test_numbers_that_not_every_reader_keeps_are_refused(text: str, wanted: str) -> None:
    assert complaints(text) == [wanted]


def test_a_number_of_many_digits_costs_nothing() -> None:
    (complaint,) = complaints(f"a: {'9' * 100_000}")

    assert complaint.startswith('m.yaml:1:4: "9999')
    assert len(complaint) < 220


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a: b: c", 'm.yaml:1:5: a ":" stands where no key can be; check the indentation, or quote the text'),
        ("a:\n\t- b", "m.yaml:2:1: this character cannot begin a value; quote it, and indent with spaces"),
        ("a: 1\n- b", "m.yaml:2:1: a key was expected here; check the indentation"),
        ("a: 'x", "m.yaml:1:4: a quoted text is not closed; close it with the same quote"),
        (
            "a: [1",
            'm.yaml:1:4: a list "[…]" is not closed; write "," between items and "]" at the end',
        ),
        (
            "a: [1 : 2 : 3]\nb: 1",
            'm.yaml:1:11: a list "[…]" is not closed; it begins at 1:4; write "," between items and "]" at the end',
        ),
        (
            "a: {{ x }}",
            'm.yaml:1:5: a key must be plain text, without anchor, alias or tag; quote a template: "{{ … }}"',
        ),
        ('a: "\\q"', "m.yaml:1:5: unknown escape in a quoted text; write \\\\ for a backslash, or use single quotes"),
        ("a: x\x07", 'm.yaml:1:5: the character U+0007 cannot stand in a manifest; write it as an escape in "…"'),
    ],
)
def test_what_is_no_yaml_is_explained_at_its_place(text: str, wanted: str) -> None:
    assert complaints(text) == [wanted]


def test_empty_documents_are_passed_over() -> None:
    documents = yaml.compose(b"---\n---\na: 1\n---\n# nothing\n---\nb: 2\n", "m.yaml")

    assert [(document.index, document.line, document.value) for document in documents] == [
        (1, 3, {"a": 1}),
        (3, 7, {"b": 2}),
    ]


def test_the_lines_of_jobs_are_kept() -> None:
    (document,) = yaml.compose(b"x: 1\njobs:\n  a: {}\n\n  b:\n    jobs: {c: 1}\n", "m.yaml")

    assert list(document.lines) == [3, 5]


def test_places_are_those_of_keys_and_values() -> None:
    text = "# é\nname: a\n---\njobs:\n  é: {x: [1, {y: 2}]}\r\n  'b':\n    z: >\n      t\n".encode()

    found = yaml.locate(
        text, [(0, ("name",)), (1, ("jobs", "é", "x", 1, "y")), (1, ("jobs", "b", "z")), (1, ("jobs", "none"))]
    )

    assert found == {
        (0, ("name",)): ((2, 1), (2, 7)),
        (1, ("jobs", "é", "x", 1, "y")): ((5, 15), (5, 18)),
        (1, ("jobs", "b", "z")): ((7, 5), (7, 8)),
    }


def test_a_place_behind_an_alias_is_where_the_value_is_written() -> None:
    text = b"a: &a {x: [1, 2]}\nb: &b {c: *a}\nd: *b\n"

    found = yaml.locate(text, [(0, ("d", "c", "x", 1)), (0, ("d",)), (0, ("b", "c"))])

    assert found == {
        (0, ("d", "c", "x", 1)): (None, (1, 15)),
        (0, ("d",)): ((3, 1), (3, 4)),
        (0, ("b", "c")): ((2, 8), (2, 11)),
    }


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(json_values)
def test_json_is_read_as_json(wanted: object) -> None:
    text = json.dumps({"a": wanted}, ensure_ascii=False)

    assert value(text) == {"a": wanted}


def all_events(following: yaml.Next) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    while not found or found[-1][0] != "StreamEndEvent":
        event = following()
        scalar = (event.value, event.implicit) if type(event).__name__ == "ScalarEvent" else ()
        mark = event.start_mark
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        found.append((type(event).__name__, *scalar, anchor, tag, mark.line, mark.column))
    return found


def test_both_parsers_tell_the_same() -> None:
    text = b"# c\n%YAML 1.2\n---\na: &x [1, 'b', \"c\\n\", *x, !t d]\n? k\n: |\n  e\n\n...\n---\n{f: g, h: i}\n"

    assert all_events(yaml.slow_events(text)) == all_events(yaml.events(text))
