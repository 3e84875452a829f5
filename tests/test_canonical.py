"""RFC 8785 bytes: the ground under every digest."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from qrun.canonical import canonical, number
from qrun.job import digests
from qrun.marks import mark, marker
from qrun.record import Member

GOLDEN = json.loads((Path(__file__).parent / "golden" / "marks.json").read_text())

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_canonical_bytes_are_those_of_the_reference_implementation(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(number(value)) == value


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2**53, -(2**53), [1, {"a": 2**60}]])
def test_what_not_every_reader_keeps_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"not a JSON number|not every JSON reader keeps"):
        canonical(value)


def test_a_field_equal_to_its_default_counts_as_absent() -> None:
    bare, _ = digests(provider="local", device="ddsim", kind="sampling", programs=["a" * 64], shots=10)
    full, _ = digests(
        provider="local",
        device="ddsim",
        kind="sampling",
        programs=["a" * 64],
        shots=10,
        params={},
        observable=(),
        options={},
        grants=(),
        secrets=(),
    )

    assert bare == full


def test_one_and_one_point_zero_are_the_same_number() -> None:
    assert canonical({"a": 1}) == canonical({"a": 1.0})


@pytest.mark.parametrize("case", GOLDEN["markers"], ids=lambda case: str(case["marker"]))
def test_a_marker_never_changes(case: dict[str, Any]) -> None:
    members = [Member(key=key, digest=digest, attempt=attempt) for key, digest, attempt in case["members"]]

    assert marker(case["project"], case["experiment"], members) == case["marker"]
    assert marker(case["project"], case["experiment"], reversed(members)) == case["marker"]
    assert mark(case["project"], case["experiment"]) == case["mark"]


def test_marks_survive_lower_casing_and_differ_by_attempt() -> None:
    first, second = (marker("p", "e", [Member(key="a", digest="d", attempt=n)]) for n in (1, 2))

    assert first != second
    assert {first, second} == {first.lower(), second.lower()}
    assert all(len(m) == 29 and m.startswith("qr1") and m.isalnum() for m in (first, second))
