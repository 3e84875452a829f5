"""OpenQASM as the provider `local` reads it: what is understood, and what a message says of the rest."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest

from qrun.providers.local.openqasm.circuit import Assign, Circuit, Gate, If, Measure, Runtime, value
from qrun.providers.local.openqasm.program import parse
from qrun.providers.local.openqasm.tokens import ProgramError, Text, decode

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


def read(text: str, **params: object) -> Circuit:
    return parse(Text(text), params)


def complaint(text: str, **params: object) -> str:
    with pytest.raises(ProgramError) as caught:
        read(text, **params)
    error = caught.value
    hint = f"; {error.hint}" if error.hint else ""
    return f"{error.line}:{error.column}: {error.message}{hint}"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (TWO + "qreg q[1];\n  fo q[0];", '4:3: unknown gate "fo"'),
        ("OPENQASM 2.0;\nqreg q[1];\nh q[0];", '3:1: unknown gate "h"; add include "qelib1.inc";'),
        ("OPENQASM 3;\nqubit q;\nh q;", '3:1: unknown gate "h"; add include "stdgates.inc";'),
        (TWO + "qreg q[3];\nx q[5];", '4:3: "q" has 3: there is no [5]'),
        (TWO + "qreg q[3];\nx q[0]\ny q[1];", '5:1: expected ";" and found "y"'),
        (TWO + "qreg q[3];\nrx(foo) q[2];", '4:4: unknown name "foo"'),
        (TWO + "qreg q[2];\ncx q[0],q[0];", '4:1: gate "cx" is given q[0] twice'),
        (TWO + "qreg q[2];\ncx q[0];", '4:1: gate "cx" takes 2 qubits, not 1'),
        (TWO + "qreg q[2];\nrx q[0];", '4:1: gate "rx" takes 1 parameter, not 0'),
        (TWO + "qreg q[2];\ncreg c[3];\nmeasure q -> c;", "5:1: 2 qubits cannot be measured into 3 bits"),
        (TWO + "qreg q[2];\nqreg r[3];\ncx q,r;", '5:1: gate "cx" is given registers of 2 and 3 qubits'),
        (TWO + "qreg q[2];\nqreg q[3];", '4:6: "q" is declared twice'),
        (TWO + "qreg q[0];", "3:8: a register's size is a whole number above 0, not 0"),
        (TWO + "qreg q[1];\nx r[0];", '4:3: unknown quantum register "r"'),
        (TWO + "qreg q[1];\nrx(1/0) q[0];", "4:5: 1 / 0 has no value"),
        (TWO + "qreg q[1];\n/* never", "4:1: this comment is never closed"),
        ('OPENQASM 2.0;\ninclude "qelib1.inc', "2:9: this string is never closed"),
        (TWO + "qreg q[1];\nx q[0]; \x00", "4:9: unexpected character U+0000"),
        ("OPENQASM 4.0;", "1:10: OpenQASM 4.0 is not known; write OPENQASM 2.0 or OPENQASM 3.0"),
        (THREE + "qubit q;\ndef f(qubit a) { x a; }", '4:1: "def" is not supported'),
        (
            THREE + "qubit[2] q; bit c;\nwhile (c) x q[0];",
            "4:1: a loop whose end depends on measured bits is not supported",
        ),
        (THREE + "int i = 0;\nwhile (true) i = 0;", "4:1: the loops of the program take more than 200000 turns"),
        (THREE + "qubit q; bit c;\nrx(c) q;", "4:4: an angle cannot depend on measured bits"),
        (THREE + "qubit[2] q;\nif (true) { x q[0];", '4:20: expected "}" and found the end of the program'),
        (THREE + "qubit q;\npow(0.5) @ h q;", "4:1: pow(0.5) of this gate is not supported; write its gates out"),
        (
            THREE + "float a = 0.5; gate g t { rx(a) t; } qubit q; g q;",
            '3:30: a gate cannot use "a", which may change; declare it as const',
        ),
        (THREE + "bit c; int i = 0; if (c) i = 1;", '3:26: "i" cannot depend on measured bits'),
        (THREE + "bit c; if (c) { int i = 0; if (c) i = 1; }", '3:35: "i" cannot depend on measured bits'),
        (THREE + "bit[2] c; bit[3] d; c = uint[3](d);", "3:21: 2 bits cannot hold 3"),
        (THREE + 'bit[2] c; c |= "101";', "3:11: 2 bits cannot hold 3"),
        (THREE + "bit[2] c; c |= 1.5;", "3:11: 2 bits cannot hold 1.5"),
        (THREE + "bit[2] c; if (c % 0 == 1) c = 1;", '3:17: "% 0" on measured bits has no value'),
        (THREE + "bit[2] c; c = c << -1;", '3:17: "<< -1" on measured bits has no value'),
        (THREE + 'const bit[2] b = "101";', '3:1: "101" does not fit bit[2]'),
        (THREE + "const bit[2] b = 9;", "3:1: 9 does not fit bit[2]"),
        (THREE + "const int n = int(1e308 * 10);", "3:15: int(inf) has no value"),
        (THREE + "qubit[4] q;\nx q[1:1000000000000];", '4:3: "q" has 4: there is no [4]'),
        (THREE + "qubit[4] q;\nx q[", "4:5: expected a value and found the end of the program"),
        (THREE + "qubit[4] q;\nx q[0b_];", '4:5: "0b_" is not a number that is understood here'),
        (THREE + f"qubit[4] q;\nx q[{'7' * 5000}];", f'4:5: "{"7" * 40}" is too long a number'),
        (
            THREE + "int i = 1 << 1000 << 1000;",
            "3:5: 0x10000000000000000000000000000000000000… does not fit int",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(program: str, message: str) -> None:
    assert complaint(program) == message


@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.inc", "mine.inc", "./qelib1.inc", "QELIB1.INC"])
def test_an_include_of_anything_else_is_refused_before_parsing(path: str) -> None:
    program = f'this is no program\n  include "{path}";'

    assert complaint(program) == (
        f'2:3: include of "{path}" is refused; '
        "only qelib1.inc and stdgates.inc are known; put the gates into the program itself"
    )


def test_an_include_in_a_comment_or_a_string_is_none() -> None:
    circuit = read('OPENQASM 2.0;\n// include "/etc/passwd";\n/* include "x"; */\nqreg q[1];\nU(0,0,0) q[0];')

    assert circuit.qubits == ("q[0]",)


def test_an_include_without_a_path_is_refused() -> None:
    assert complaint("include qelib1;").startswith("1:1: include of what is not a string is refused")


@pytest.mark.parametrize(
    ("declaration", "value", "angle"),
    [
        ("input float theta;", 0.25, 0.25),
        ("input float[32] theta;", -3, -3.0),
        ("input angle theta;", 1e-7, 1e-7),
        ("input angle[20] theta;", 2, 2.0),
        ("input int theta;", -2, -2.0),
        ("input uint[8] theta;", 255, 255.0),
        ("input bool theta;", True, 1.0),
        ("input bit[3] theta;", "101", 5.0),
    ],
)
def test_an_input_is_bound(declaration: str, value: object, angle: float) -> None:
    circuit = read(THREE + declaration + "\nqubit q;\nrx(theta) q;", theta=value)

    assert circuit.operations == (Gate("rx", (angle,), (), (0,)),)


@pytest.mark.parametrize(
    ("declaration", "value", "message"),
    [
        ("float", "x", 'params.theta is "x"; a number is needed for float'),
        ("float", True, "params.theta is true; a number is needed for float"),
        ("float", math.inf, "params.theta is inf; a number is needed for float"),
        ("int", 0.5, "params.theta is 0.5; a whole number is needed for int"),
        ("int[4]", 8, "params.theta is 8; a whole number is needed for int[4]"),
        ("uint", -1, "params.theta is -1; a whole number from 0 is needed for uint"),
        ("bool", 1, "params.theta is 1; true or false is needed for bool"),
        ("bit[2]", "101", 'params.theta is "101"; a bit string is needed for bit[2]'),
        ("float", 16**400, f"params.theta is 0x1{'0' * 37}…; a number is needed for float"),
    ],
)
def test_an_input_of_the_wrong_type_is_named(declaration: str, value: object, message: str) -> None:
    assert complaint(THREE + f"input {declaration} theta;", theta=value).endswith(f": {message}")


def test_a_missing_input_is_named_with_its_place() -> None:
    program = THREE + "input float theta; qubit q; rx(theta) q;"

    assert complaint(program) == '3:13: input "theta" has no value; give it under params: theta'


def test_places_after_an_input_are_those_of_the_file() -> None:
    assert complaint(THREE + "input float theta; fo q;", theta=0.123456789) == '3:20: unknown gate "fo"'


def test_bits_are_named_in_the_order_of_declaration() -> None:
    circuit = read(THREE + "bit[2] z; qubit[2] q; bit a; bit[1] b;")

    assert circuit.bits == ("z[0]", "z[1]", "a", "b[0]")


def test_gates_are_broadcast_over_registers() -> None:
    circuit = read(
        TWO + "qreg a[2]; qreg b[2]; cx a,b; cx a[0],b; measure a[1] -> b2[0];".replace(" measure a[1] -> b2[0];", "")
    )

    pairs = [(op.controls[0][0], op.targets[0]) for op in circuit.operations if isinstance(op, Gate)]
    assert pairs == [(0, 2), (1, 3), (0, 2), (0, 3)]


def test_loops_and_constant_conditions_are_carried_out() -> None:
    circuit = read(THREE + "const int n = 3; qubit[n] q; for int i in [0:2:n - 1] { if (i == 2) y q[i]; else x q[i]; }")

    assert circuit.operations == (Gate("x", (), (), (0,)), Gate("y", (), (), (2,)))


def test_slices_sets_negative_indices_and_aliases_choose_qubits() -> None:
    circuit = read(THREE + "qubit[6] q; let a = q[1:2] ++ q[-1]; x a; y q[{0, 3}]; z q[4:-2:0];")

    assert [op.targets[0] for op in circuit.operations if isinstance(op, Gate)] == [1, 2, 5, 0, 3, 4, 2, 0]


def test_a_condition_on_one_bit_reads_only_that_bit() -> None:
    circuit = read(THREE + "qubit q; bit[3] c; if (c[1] == 1) x q;")

    (operation,) = circuit.operations
    assert isinstance(operation, If)
    assert operation.condition == Runtime("==", (Runtime("bits", (1,)), 1))


def test_open_qasm_2_divides_as_real_numbers_and_raises_to_powers() -> None:
    circuit = read(TWO + "qreg q[1]; rx(1/2) q[0]; rx(-2^2) q[0]; rx(sin(pi/2)+ln(exp(1))) q[0];")

    assert [op.params[0] for op in circuit.operations if isinstance(op, Gate)] == [0.5, -4, 2]


def test_a_local_name_hides_a_gate() -> None:
    circuit = read(THREE + "qubit q; bit c; if (c) { bit t; t = measure q; }")

    (operation,) = circuit.operations
    assert isinstance(operation, If)
    assert operation.then == (Measure(0, 1),)
    assert circuit.hidden == 1


@pytest.mark.parametrize(
    "loop",
    [
        "for int i in {0, 1} { x q[i]; y q[i]; }",
        "for uint[8] i in [0:2] { x q[i]; y q[i]; }",
        "for int i in [k[0]:k[1]] { x q[i]; y q[i]; }",
        "for int i in [0:1] if (i == 1) { x q[i]; } else y q[i];",
        "while (false) for int i in {0, 1} { x q[i]; }",
    ],
)
def test_a_loop_that_is_not_reached_is_passed_over_as_a_whole(loop: str) -> None:
    circuit = read(THREE + f"qubit[3] q; const uint[2] k = 2; if (false) {loop} z q[0];")

    assert circuit.operations == (Gate("z", (), (), (0,)),)


def test_a_gate_of_open_qasm_2_may_be_named_like_a_word_of_open_qasm_3() -> None:
    definitions = "gate box a { x a; } gate inv a { box a; } gate pow(t) a { rx(t) a; } gate g a { inv a; }"
    circuit = read(TWO + definitions + "qreg q[1]; creg bit[1]; g q[0]; pow(0.5) q[0]; if (bit == 1) box q[0];")

    x = Gate("x", (), (), (0,))
    assert circuit.operations == (
        x,
        Gate("rx", (0.5,), (), (0,)),
        If(Runtime("==", (Runtime("bits", (0,)), 1)), (x,), ()),
    )


def test_a_variable_of_a_branch_may_change_inside_it() -> None:
    circuit = read(THREE + "qubit[2] q; bit c; if (c) { int i = 0; while (i < 2) { x q[i]; i += 1; } }")

    (operation,) = circuit.operations
    assert isinstance(operation, If)
    assert operation.then == (Gate("x", (), (), (0,)), Gate("x", (), (), (1,)))


def test_a_cast_of_measured_bits_has_the_width_that_it_names() -> None:
    circuit = read(THREE + "bit[2] c; bit[4] d; c = bit[2](d);")

    (operation,) = circuit.operations
    assert isinstance(operation, Assign)
    assert value(operation.value, (0, 0, 1, 0, 1, 1)) == 0b01


@pytest.mark.parametrize("shift", ["d << 1", "(d << 2) >> 1", '"0110" << 1'])
def test_bits_that_are_shifted_out_of_a_register_are_gone(shift: str) -> None:
    circuit = read(THREE + f"bit[4] c; bit[4] d; c = {shift};")

    (operation,) = circuit.operations
    assert isinstance(operation, Assign)
    shifted = value(operation.value, (0, 0, 0, 0, 0, 1, 1, 0))  # d is "0110"
    assert shifted == (0b0100 if ">>" in shift else 0b1100)


def test_half_a_power_may_be_written_as_in_the_standard_library() -> None:
    circuit = read(THREE + "gate root a { pow(1/2) @ x a; } qubit q; root q; pow(3/2) @ rz(1) q;")

    h = Gate("h", (), (), (0,))
    assert circuit.operations == (h, Gate("p", (math.pi / 2,), (), (0,)), h, Gate("rz", (1.5,), (), (0,)))


def test_a_long_sum_is_no_deep_nesting() -> None:
    circuit = read(THREE + f"qubit q; rx({'+'.join(['1'] * 3000)}) q;")

    assert circuit.operations == (Gate("rx", (3000.0,), (), (0,)),)


def test_a_condition_on_hundreds_of_bits_is_read_and_one_on_thousands_refused() -> None:
    parity = " ^ ".join(f"c[{place}]" for place in range(280))
    (operation,) = read(THREE + f"bit[280] c; bit d; d = {parity};").operations
    assert isinstance(operation, Assign)
    assert value(operation.value, [1, 1, 1, *[0] * 278]) == 1

    assert complaint(THREE + f"bit[280] c; if ({' ^ '.join(['c[0]'] * 2000)}) c[0] = 1;").endswith(
        ": an expression of measured bits has more than 300 terms"
    )


def test_a_program_that_breaks_off_anywhere_is_no_crash() -> None:
    program = (
        THREE + 'input float t; qubit[2] q; bit[2] c = "01"; const uint[4] k = 3; let a = q[0:1] ++ q[{1}];'
        "gate g(v) x, y { ctrl @ rx(v / 2) x, y; } if (c[0] == 1 && !c[1]) { g(t) q[0], a[k[0]]; } else reset q;"
        "for int i in [0:1] { pow(2) @ x q[i]; } delay[10ns] q; if (false) for int i in {0, 1} x q[i]; c = measure q;"
    )

    for end in range(len(program)):
        with suppress(ProgramError):
            read(program[:end], t=0.5)
    assert len(read(program, t=0.5).operations) == 8


def test_comments_that_look_like_layouts_mean_nothing() -> None:
    circuit = read("// i 1 0\n// o 1 0\n" + TWO + "qreg q[2]; creg c[2]; x q[0]; measure q -> c;")

    assert circuit.operations == (Gate("x", (), (), (0,)), Measure(0, 0), Measure(1, 1))


def test_a_byte_order_mark_is_passed_over_and_other_encodings_are_refused() -> None:
    assert decode(b"\xef\xbb\xbfOPENQASM 2.0;") == "OPENQASM 2.0;"
    with pytest.raises(ProgramError) as caught:
        decode(b"OPENQASM 2.0;\n// caf\xe9")
    assert (str(caught.value), caught.value.line, caught.value.column) == ("the program is not UTF-8 text", 2, 7)


def test_deep_nesting_is_an_error_and_no_crash() -> None:
    assert complaint(THREE + "qubit q; rx(" + "(" * 5000 + "1" + ")" * 5000 + ") q;").endswith(
        ": the expression is nested too deeply"
    )
    assert complaint(THREE + "{" * 5000).endswith(": blocks are nested too deeply")
    assert complaint(THREE + "if (false) " + "if (true) " * 5000 + ";").endswith(": blocks are nested too deeply")
    assert complaint(THREE + "const int n = " + "1 ** " * 5000 + "1;").endswith(": the expression is nested too deeply")
