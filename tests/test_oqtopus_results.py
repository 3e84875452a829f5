"""Results of an OQTOPUS cloud in the normal form, and the registers that name their bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from qrun.errors import Unexpected
from qrun.providers.oqtopus.registers import registers
from qrun.providers.oqtopus.results import normal, spell

BELL = b"OPENQASM 3.0;\nqubit[2] q;\nbit[2] c;\n"
TWO = b"OPENQASM 3.0;\nqubit[3] q;\nbit[1] a;\nbit[2] b;\n"


def sampled(counts: Mapping[str, Any], *programs: bytes | None, kind: str = "sampling", divided: Any = None) -> Any:
    result = {"sampling": {"counts": counts, "divided_counts": divided}, "estimation": None}
    return normal(result, kind=kind, shots=10, programs=programs or (None,))


def test_bits_are_named_by_the_program_the_last_register_left_and_bit_0_right() -> None:
    assert sampled({"011": 4, "100": 6}, TWO) == {
        "bits": ["b[1]", "b[0]", "a[0]"],
        "counts": {"011": 4, "100": 6},
        "shots": 10,
    }


def test_a_program_without_classical_bits_has_its_qubits_measured() -> None:
    assert sampled({"01": 10}, b"OPENQASM 3.0;\nqubit[2] q;\n")["bits"] == ["q[1]", "q[0]"]


@pytest.mark.parametrize("program", [None, b"\xff", b"OPENQASM 3.0;\nbit[n] c;\n", BELL, b""])
def test_bits_that_no_program_names_are_numbered(program: bytes | None) -> None:
    assert sampled({"010": 10}, program)["bits"] == ["c[2]", "c[1]", "c[0]"]


def test_an_outcome_that_nothing_was_counted_for_keeps_the_names_of_its_bits() -> None:
    assert sampled({}, BELL) == {"bits": ["c[1]", "c[0]"], "counts": {}, "shots": 10}


def test_mitigated_counts_stay_as_they_are_though_they_do_not_add_up() -> None:
    assert sampled({"00": 5.5, "11": -0.5}, BELL) == {
        "bits": ["c[1]", "c[0]"],
        "counts": {"00": 5.5, "11": -0.5},
        "shots": 10,
    }


KEYS: list[tuple[dict[str, int], int | None, dict[str, int]]] = [
    ({"00": 1, "11": 2}, 2, {"00": 1, "11": 2}),
    ({"10": 1}, 2, {"10": 1}),
    ({"0 1": 1, "1 0": 2}, 2, {"01": 1, "10": 2}),
    ({"0": 1, "3": 2}, 2, {"00": 1, "11": 2}),
    ({"0": 1, "1": 2}, 5, {"00000": 1, "00001": 2}),
    ({"10": 1, "1": 2}, 4, {"1010": 1, "0001": 2}),
    ({"11": 1}, 4, {"1011": 1}),
    ({"01": 1, "10": 2}, 4, {"01": 1, "10": 2}),
    ({"00": 1, "11": 2}, None, {"00": 1, "11": 2}),
    ({"10": 1, "2": 2}, None, {"1010": 1, "0010": 2}),
    ({"9": 1}, 2, {"1001": 1}),
    ({}, 3, {}),
]


@pytest.mark.parametrize(("counts", "width", "spelled"), KEYS)
def test_keys_are_bit_strings_or_decimal_numbers(
    counts: dict[str, int], width: int | None, spelled: dict[str, int]
) -> None:
    assert spell(counts, width) == spelled


@pytest.mark.parametrize("counts", [{"0x3": 1}, {"up": 1}, {"": 1}, {"01": 1, "2": 1}, {"9" * 200: 1}])
def test_keys_of_another_kind_are_an_answer_of_unknown_shape(counts: dict[str, int]) -> None:
    with pytest.raises(Unexpected):
        sampled(counts)


@pytest.mark.parametrize("counts", [None, [1], {"0": "7"}, {"0": None}, {"0": True}])
def test_counts_that_are_not_numbers_are_an_answer_of_unknown_shape(counts: Any) -> None:
    with pytest.raises(Unexpected, match="not numbers by outcome"):
        sampled(counts)


# --- several programs -------------------------------------------------------------------------------------------------


def test_each_program_of_a_multi_job_has_its_own_part_in_their_order() -> None:
    divided = {"1": {"011": 10}, "0": {"00": 4, "11": 6}}

    told = sampled({"01100": 4, "01111": 6}, BELL, TWO, kind="multi", divided=divided)

    assert told == {
        "parts": [
            {"bits": ["c[1]", "c[0]"], "counts": {"00": 4, "11": 6}, "shots": 10},
            {"bits": ["b[1]", "b[0]", "a[0]"], "counts": {"011": 10}, "shots": 10},
        ]
    }


@pytest.mark.parametrize("divided", [{}, None])
def test_counts_that_the_service_failed_to_divide_are_divided_here(divided: Any) -> None:
    told = sampled({"01100": 4, "01111": 5, "11111": 1}, BELL, TWO, kind="multi", divided=divided)

    assert [part["counts"] for part in told["parts"]] == [{"00": 4, "11": 6}, {"011": 9, "111": 1}]


def test_counts_that_nobody_can_divide_stay_joined() -> None:
    told = sampled({"01100": 10}, BELL, None, kind="multi", divided={})

    assert told == {"bits": ["c[4]", "c[3]", "c[2]", "c[1]", "c[0]"], "counts": {"01100": 10}, "shots": 10}


@pytest.mark.parametrize("divided", [{"0": {"00": 10}}, {"1": {"0": 1}, "2": {"0": 1}}, {"a": {"0": 1}}, [1]])
def test_parts_that_are_not_those_of_the_programs_are_an_answer_of_unknown_shape(divided: Any) -> None:
    with pytest.raises(Unexpected):
        sampled({"0000": 10}, BELL, BELL, kind="multi", divided=divided)


# --- values -----------------------------------------------------------------------------------------------------------


def estimated(value: Any, error: Any, kind: str = "estimation") -> Any:
    result = {"sampling": None, "estimation": {"exp_value": value, "stds": error}}
    return normal(result, kind=kind, shots=10, programs=(None,))


def test_an_expected_value_has_its_error_and_its_shots() -> None:
    assert estimated(0.75, 0.02) == {"value": 0.75, "std_error": 0.02, "shots": 10}
    assert estimated(1, None) == {"value": 1, "std_error": None, "shots": 10}


def test_an_older_server_s_complex_value_is_its_real_part() -> None:
    assert estimated([0.75, 0.0], [0.02, 0.0]) == {"value": 0.75, "std_error": 0.02, "shots": 10}


@pytest.mark.parametrize("value", [None, "0.75", [0.75], {"re": 1}, True])
def test_a_value_that_is_no_number_is_an_answer_of_unknown_shape(value: Any) -> None:
    with pytest.raises(Unexpected):
        estimated(value, 0.02)


def test_a_script_s_result_is_that_of_its_last_job_whatever_it_was() -> None:
    assert estimated(0.75, 0.02, kind="sse") == {"value": 0.75, "std_error": 0.02, "shots": None}
    assert sampled({"00": 3, "11": 4}, kind="sse") == {
        "bits": ["c[1]", "c[0]"],
        "counts": {"00": 3, "11": 4},
        "shots": 7,
    }
    assert normal({}, kind="sse", shots=1, programs=(None,)) == {}


def test_a_result_without_counts_and_value_is_an_answer_of_unknown_shape() -> None:
    with pytest.raises(Unexpected):
        normal({"sampling": None, "estimation": None}, kind="sampling", shots=10, programs=(None,))


# --- registers --------------------------------------------------------------------------------------------------------

PROGRAMS: list[tuple[str, tuple[str, ...] | None, tuple[str, ...]]] = [
    (
        'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg a[1];\ncreg b[2];\n',
        ("a[0]", "b[0]", "b[1]"),
        ("q[0]", "q[1]"),
    ),
    ("OPENQASM 3.0;\nqubit q;\nbit c;\nc = measure q;\n", ("c",), ("q",)),
    ("bit[2] c = measure q;\noutput bit[1] d;\n", ("c[0]", "c[1]", "d[0]"), ()),
    ('bit[2] c = "01";\n', ("c[0]", "c[1]"), ()),
    ("const int n = 2;\nqubit[n] q;\nbit[n] c;\n", ("c[0]", "c[1]"), ("q[0]", "q[1]")),
    ("const uint[8] n = 1;\nbit[n] c;\n", ("c[0]",), ()),
    ("// creg x[9];\n/* bit[9] y; */\nbit[1] c;\n", ("c[0]",), ()),
    ("bit[1] c;\nif (c == 1) { bit[3] inner; x q[0]; }\ngate g a { x a; }\nbit[1] d;\n", ("c[0]", "d[0]"), ()),
    ("bit[1] c;\nx q[{0, 1}];\nbit[1] d;\n", ("c[0]", "d[0]"), ()),
    ("", (), ()),
    ("bit[2 * 3] c;\n", None, ()),
    ("bit[n] c;\n", None, ()),
    ("bit[0] c;\n", None, ()),
    ("bit[99999999] c;\n", None, ()),
    ("creg c[200000];\n", None, ()),
    ("bit[2;\n", None, ()),
    ("bit;\n", None, ()),
    ("creg c[2\n", None, ()),
    ("/* no end", None, ()),
]


@pytest.mark.parametrize(("text", "bits", "qubits"), PROGRAMS)
def test_registers_are_seen_where_they_are_plain_to_see(
    text: str, bits: tuple[str, ...] | None, qubits: tuple[str, ...]
) -> None:
    found = registers(text.encode())

    assert (found and found.bits) == bits
    assert found is None or found.qubits == qubits


def test_a_very_long_program_is_not_looked_through() -> None:
    assert registers(b"bit[2] c;\n" + b" " * 5 * 2**20) is None
