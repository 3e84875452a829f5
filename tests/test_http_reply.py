"""JSON from servers: read strictly, and what is wrong is said with the class of error that the call needs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrun.errors import Uncertain, Unexpected
from qrun.http import Call, Reply, parse
from qrun.redact import HIDDEN, note

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_is_json_is_read_as_it_is(value: Any) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 2}', '"a" stands twice'),
        ('[{"x": {"a": 1, "b": 2, "b": 2}}]', '"b" stands twice'),
        ("NaN", "NaN is no JSON number"),
        ("[Infinity]", "Infinity is no JSON number"),
        ("-Infinity", "no JSON number"),
        ("1e999", "too large a number"),
        ("9" * 4301, "4300"),
        ("[" * 101 + "]" * 101, "nested deeper than 100"),
        ('{"a":' * 101 + "1" + "}" * 101, "nested deeper than 100"),
        ("[" * 200_000, "nested deeper"),
        ('"\\ud800"', "surrogates not allowed"),
        ("", "Expecting value"),
        ("<html>", "Expecting value"),
        ('{"a": 1} x', "Extra data"),
        ("{'a': 1}", "Expecting property name"),
        ('"\x00"', "Invalid control character"),
    ],
)
def test_what_no_honest_server_sends_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse(text.encode())


@pytest.mark.parametrize("content", [b'"\xff"', b"\xff\xfe1\x00", b"\xef\xbb\xbf{}\xff"])
def test_bytes_that_are_no_text_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"decode|Expecting"):
        parse(content)


def test_a_hundred_levels_are_fine_and_many_brackets_beside_each_other_too() -> None:
    assert parse(b"[" * 100 + b"]" * 100)
    assert len(parse(b"[" + b",".join([b"{}"] * 10_000) + b"]")) == 10_000


@pytest.mark.parametrize(
    ("call", "kind"), [(Call.SUBMIT, Uncertain), (Call.READ, Unexpected), (Call.CANCEL, Unexpected)]
)
def test_an_answer_that_cannot_be_read_leaves_a_submit_uncertain(call: Call, kind: type[Exception]) -> None:
    reply = Reply(status=200, headers={}, content=b"<html>\x1b[31m", received=0.0, call=call, place='"hub", POST /jobs')

    with pytest.raises(kind, match=r'^"hub", POST /jobs: the answer is not usable JSON: Expecting value') as raised:
        reply.json()
    assert raised.value.__context__ is None
    assert str(reply.malformed('"job_id" is missing')) == '"hub", POST /jobs: "job_id" is missing'


@pytest.mark.parametrize("spelled", ["id.secret/of-mine", "id.secret\\/of-mine", "id\\u002esecret/of-mine"])
def test_a_secret_that_a_server_repeats_is_hidden_however_it_is_spelled(spelled: str) -> None:
    note("id.secret/of-mine")
    content = f'{{"job_id": "{spelled}", "n": 1}}'.encode()

    assert Reply(status=200, headers={}, content=content, received=0.0).json() == {"job_id": HIDDEN, "n": 1}


def test_a_reply_does_not_show_its_content() -> None:
    assert "secret" not in repr(Reply(status=200, headers={}, content=b"secret", received=0.0))
