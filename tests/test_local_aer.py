"""The device `aer`; left out where its extra is not installed."""

from __future__ import annotations

import math

import pytest

from tests.programs import ask, failure, results, run, text

pytest.importorskip("qiskit_aer", reason="the extra aer is not installed")

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


@pytest.mark.parametrize(
    ("program", "bits", "key"),
    [
        (TWO + "qreg q[3]; creg a[2]; creg b[3]; x q[0]; measure q[0] -> b[2];", "b[2] b[1] b[0] a[1] a[0]", "10000"),
        (TWO + "qreg q[2]; creg c[2]; x q[0]; measure q[0] -> c[0]; measure q[0] -> c[1];", "c[1] c[0]", "11"),
        (TWO + "qreg q[2]; creg c[2]; x q[0];", "c[1] c[0]", "00"),
        (TWO + "qreg q[2]; qreg r[1]; x q[1];", "r[0] q[1] q[0]", "010"),
        (THREE + "qubit[2] q; x q[0]; measure q[0]; x q[1];", "q[1] q[0]", "11"),
        (THREE + 'qubit q; bit[4] c = "1010";', "c[3] c[2] c[1] c[0]", "1010"),
        (THREE + "qubit[2] q; bit[2] c; x q[0]; c = measure q; if (c[0] == 1) c = ~c;", "c[1] c[0]", "10"),
        (
            THREE + "qubit[2] q; bit[2] c; if (c[0]) c[1] = 1; else { if (!c[1]) x q[0]; } c[0] = measure q[0];",
            "c[1] c[0]",
            "01",
        ),
        (
            THREE
            + "qubit[2] q; bit[2] c; if (c == 0) { x q[1]; c[1] = measure q[1]; reset q[1]; } c[0] = measure q[1];",
            "c[1] c[0]",
            "10",
        ),
        (
            THREE + "qubit[4] q; bit[4] c; x q[0:2]; ctrl(3) @ x q[0], q[1], q[2], q[3]; c = measure q;",
            "c[3] c[2] c[1] c[0]",
            "1111",
        ),
    ],
)
def test_bits_and_branches_are_those_of_every_device(program: str, bits: str, key: str) -> None:
    assert results(program, device="aer", shots=10) == {"bits": bits.split(), "counts": {key: 10}, "shots": 10}


def test_a_state_is_teleported() -> None:
    found = results(text("teleport.qasm"), device="aer", shots=20000)

    ones = sum(count for key, count in found["counts"].items() if key[0] == "1")
    assert found["bits"] == ["arrived", "sent[1]", "sent[0]"]
    assert abs(ones - 20000 * math.sin(0.6) ** 2) < 5 * math.sqrt(20000 * 0.25)


@pytest.mark.parametrize("method", ["automatic", "stabilizer", "matrix_product_state", "statevector", "density_matrix"])
def test_each_method_knows_a_bell_pair(method: str) -> None:
    found = results(text("bell.qasm"), device="aer", shots=2000, options={"method": method})

    assert set(found["counts"]) == {"00", "11"}
    assert abs(found["counts"]["00"] - 1000) < 5 * math.sqrt(500)


@pytest.mark.parametrize("method", ["automatic", "matrix_product_state"])
def test_280_entangled_qubits_agree(method: str) -> None:
    chain = "".join(f"cx q[{place}], q[{place + 1}];" for place in range(279))
    program = TWO + f"qreg q[280]; creg c[280]; h q[0]; {chain} measure q -> c;"

    found = results(program, device="aer", shots=50, options={"method": method})

    assert set(found["counts"]) == {"0" * 280, "1" * 280}


def test_the_same_marker_gives_the_same_counts() -> None:
    job = ask(text("bell.qasm"), device="aer")

    first = run(job, job, markers=["qr1a", "qr1b"])
    again = run(job, markers=["qr1a"])

    assert first[0].results == again[0].results
    assert first[0].results != first[1].results
    assert set(first[0].status.provided["libraries"]) == {"qiskit", "qiskit-aer"}


def test_noise_happens_as_often_as_it_is_asked_for() -> None:
    program = TWO + "qreg q[1]; creg c[1]; x q[0]; measure q -> c;"

    depolarized = results(program, device="aer", shots=40000, options={"noise": {"one_qubit": 0.2}})
    misread = results(program, device="aer", shots=40000, options={"noise": {"readout": 0.1}})

    for found in (depolarized, misread):  # a depolarized qubit is right half of the time
        assert abs(found["counts"]["0"] - 4000) < 5 * math.sqrt(40000 * 0.1 * 0.9)


def test_an_exact_value_averages_over_the_noise() -> None:
    program = THREE + "qubit[2] q; x q[0]; cx q[0], q[1];"
    options = {"noise": {"two_qubit": 0.1, "readout": 0.05}}

    found = results(
        program, device="aer", kind="estimation", shots=None, observable=(("Z0 Z1", 1.0), ("I", 3.0)), options=options
    )

    assert found["value"] == pytest.approx(3 + 0.9 * 0.9**2, abs=1e-9)
    assert found["std_error"] == 0.0


def test_a_value_agrees_with_the_other_device() -> None:
    program = (
        THREE + "qubit[3] q; bit[3] c; h q; cp(0.3) q[0], q[2]; ry(0.4) q[1]; cswap q[1], q[0], q[2]; c = measure q;"
    )
    observable = (("X0 Y2", 0.7), ("Z1", -1.0), ("X1 X2 Z0", 2.0))

    values = [
        results(program, device=device, kind="estimation", shots=None, observable=observable)["value"]
        for device in ("ddsim", "aer")
    ]

    assert values[0] == pytest.approx(values[1], abs=1e-8)


def test_what_cannot_fit_is_refused_with_a_way_out() -> None:
    program = TWO + "qreg q[31]; creg c[31]; h q; measure q -> c;"

    for options in ({"method": "statevector"}, {"method": "density_matrix"}):
        message = failure(program, device="aer", options=options, path="programs/big.qasm")
        size = {"statevector": "32 GiB", "density_matrix": "65536 PiB"}[options["method"]]
        assert message is not None
        assert message.startswith(f"programs/big.qasm: 31 qubits need about {size} with method {options['method']}")
        assert message.endswith("; try device: aer with method: matrix_product_state (device aer)")


def test_automatic_names_the_memory_too() -> None:
    program = TWO + "qreg q[31]; creg c[31]; h q; " + "".join(f"t q[{n}]; cx q[{n}], q[{n + 1}];" for n in range(30))

    (outcome,) = run(ask(program + "h q; measure q -> c;", device="aer"), memory="1 GiB")

    assert outcome.status.message == (
        "programs/x.qasm: 31 qubits need about 32 GiB with method statevector, and a worker may take 1 GiB; "
        "try device: aer with method: matrix_product_state (device aer)"
    )


def test_an_exact_value_after_measurements_inside_is_left_to_the_other_device() -> None:
    program = THREE + "qubit q; bit c; h q; c = measure q; h q;"

    message = failure(program, device="aer", kind="estimation", shots=None, observable=(("Z0", 1.0),))

    assert message == (
        "programs/x.qasm: an exact value of a circuit with measurements or resets inside; "
        "try device: ddsim (device aer)"
    )


def test_a_mistake_in_a_program_names_file_place_and_device() -> None:
    assert failure(TWO + "qreg q[1];\n  fo q[0];", device="aer") == (
        'programs/x.qasm:4:3: unknown gate "fo" (device aer)'
    )
