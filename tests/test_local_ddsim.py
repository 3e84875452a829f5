"""The device `ddsim`: counts and values against what physics says, in the bit order of the normal form."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from tests.programs import ask, failure, results, run, text

TWO = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'
THREE = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'


def near(count: int, shots: int, probability: float) -> bool:
    """Within five standard deviations."""
    return abs(count - shots * probability) <= 5 * math.sqrt(shots * probability * (1 - probability))


def test_a_bell_pair_agrees_with_itself() -> None:
    found = results(text("bell.qasm"), shots=4000)

    assert found["bits"] == ["c[1]", "c[0]"]
    assert found["shots"] == 4000
    assert set(found["counts"]) == {"00", "11"}
    assert sum(found["counts"].values()) == 4000
    assert near(found["counts"]["00"], 4000, 0.5)


@pytest.mark.parametrize(
    ("body", "bits", "key"),
    [
        ("qreg q[3]; creg a[2]; creg b[3]; x q[0]; measure q[0] -> b[2];", "b[2] b[1] b[0] a[1] a[0]", "10000"),
        ("qreg q[3]; creg c[3]; x q[0]; measure q[0] -> c[2]; measure q[2] -> c[0];", "c[2] c[1] c[0]", "100"),
        ("qreg q[2]; creg c[2]; x q[0]; measure q[0] -> c[0]; measure q[0] -> c[1];", "c[1] c[0]", "11"),
        ("qreg q[2]; creg c[1]; x q[0]; measure q[0] -> c[0]; measure q[1] -> c[0];", "c[0]", "0"),
        ("qreg q[1]; creg c[2]; x q[0]; measure q[0] -> c[0]; x q[0]; measure q[0] -> c[1];", "c[1] c[0]", "01"),
        ("qreg q[2]; creg c[2]; x q[0]; swap q[0], q[1]; measure q -> c;", "c[1] c[0]", "10"),
        ("qreg q[2]; creg c[2]; x q; reset q[0]; measure q -> c;", "c[1] c[0]", "10"),
        ("qreg q[2]; creg c[2]; x q[0];", "c[1] c[0]", "00"),
        ("qreg q[2]; qreg r[1]; x q[1];", "r[0] q[1] q[0]", "010"),
        ("qreg q[2]; x q[0]; reset q[0]; x q[1];", "q[1] q[0]", "10"),
        (
            "qreg q[2]; creg c[2]; x q[0]; measure q[0] -> c[1]; if (c == 2) x q[1]; measure q[1] -> c[0];",
            "c[1] c[0]",
            "11",
        ),
        ("qreg q[2]; creg c[2]; x q; if (c == 0) measure q[1] -> c[1];", "c[1] c[0]", "10"),
        ("qreg q[2]; creg c[2]; x q[0]; if (c == 4) x q; measure q -> c;", "c[1] c[0]", "01"),
    ],
)
def test_every_bit_stands_where_the_normal_form_says(body: str, bits: str, key: str) -> None:
    found = results(TWO + body, shots=10)

    assert found == {"bits": bits.split(), "counts": {key: 10}, "shots": 10}


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ("qubit[2] q; bit[2] c; x q[1]; c = measure q;", "10"),
        ("qubit[3] q; bit a; bit[2] c; x q[0]; x q[2]; c[1] = measure q[2]; a = measure q[1];", "100"),
        ("qubit[2] q; bit[2] c = measure q;", "00"),
        ('bit[4] c = "1010"; qubit q;', "1010"),
        ("qubit[3] q; bit[3] c; x q[0]; c[0] = measure q[0]; if (c[0] == 1) x q[1]; c[1] = measure q[1];", "011"),
        ("qubit[2] q; bit[2] c; if (c[0]) x q[0]; else { x q[1]; if (!c[1]) x q[0]; } c = measure q;", "11"),
        ("qubit[2] q; bit[2] c; x q; if (c == 0) { c[0] = measure q[0]; reset q[1]; } c[1] = measure q[1];", "01"),
        ("qubit[2] q; bit[2] c; x q[0]; c = measure q; if (c[0] && !c[1] || false) c = ~c;", "10"),
        (
            "qubit[4] q; bit[4] c; x q[0:1]; ctrl(2) @ x q[0], q[1], q[2]; negctrl @ x q[3], q[0]; c = measure q;",
            "0110",
        ),
        ("qubit[2] q; bit[2] c; x q[0]; h q[1]; ctrl @ pow(2) @ s q[0], q[1]; h q[1]; c = measure q;", "11"),
        ("qubit[2] q; bit[2] c; x q[0]; h q[1]; ctrl(2) @ gphase(pi) q[0], q[1]; h q[1]; c = measure q;", "11"),
        ("qubit[4] q; bit[4] c; for int i in [0:3] { if (i % 2 == 1) x q[i]; } c = measure q;", "1010"),
    ],
)
def test_open_qasm_3_means_what_it_says(body: str, key: str) -> None:
    assert results(THREE + body, shots=10)["counts"] == {key: 10}


def test_a_state_is_teleported() -> None:
    found = results(text("teleport.qasm"), shots=20000)

    ones = sum(count for key, count in found["counts"].items() if key[0] == "1")
    assert found["bits"] == ["arrived", "sent[1]", "sent[0]"]
    assert near(ones, 20000, math.sin(0.6) ** 2)
    for sent in ("00", "01", "10", "11"):
        assert near(sum(count for key, count in found["counts"].items() if key[1:] == sent), 20000, 0.25)


def test_the_inverse_takes_a_fourier_transform_back() -> None:
    assert results(text("qft.qasm"), shots=100)["counts"] == {"10101": 100}


def test_280_entangled_qubits_agree() -> None:
    chain = "".join(f"cx q[{place}], q[{place + 1}];" for place in range(279))

    found = results(TWO + f"qreg q[280]; creg c[280]; h q[0]; {chain} measure q -> c;", shots=1000)

    assert set(found["counts"]) == {"0" * 280, "1" * 280}
    assert found["bits"][0] == "c[279]"


def test_280_entangled_qubits_agree_although_one_is_measured_on_the_way() -> None:
    chain = "".join(f"cx q[{place}], q[{place + 1}];" for place in range(279))

    found = results(
        TWO + f"qreg q[280]; creg c[280]; h q[0]; measure q[0] -> c[0]; {chain} measure q -> c;", shots=1000
    )

    assert set(found["counts"]) == {"0" * 280, "1" * 280}


def test_repeated_measurement_of_a_rotating_qubit_follows_the_product_of_its_chances() -> None:
    line = "ry(0.7) q; c[{0}] = measure q; "

    found = results(THREE + "qubit q; bit[3] c; " + "".join(line.format(place) for place in range(3)), shots=40000)

    stay = math.cos(0.35) ** 2
    for key, count in found["counts"].items():
        bits = [0, *(int(bit) for bit in reversed(key))]
        flips = sum(a != b for a, b in pairwise(bits))
        assert near(count, 40000, stay ** (3 - flips) * (1 - stay) ** flips)


def test_a_seed_gives_the_same_counts_and_a_marker_its_own() -> None:
    job = ask(text("bell.qasm"))
    dynamic = ask(text("teleport.qasm"))
    fixed = ask(text("bell.qasm"), options={"seed": 42})

    first = run(job, job, dynamic, fixed, fixed, markers=["qr1a", "qr1b", "qr1c", "qr1d", "qr1e"])
    again = run(job, dynamic, markers=["qr1a", "qr1c"])

    assert first[0].results == again[0].results
    assert first[2].results == again[1].results
    assert first[0].results != first[1].results
    assert first[3].results == first[4].results
    assert first[0].status.provided["seed"] == again[0].status.provided["seed"] != first[1].status.provided["seed"]
    assert first[3].status.provided["seed"] == 42


def test_what_is_recorded_is_the_same_when_run_again() -> None:
    (outcome,) = run(ask(text("bell.qasm")))

    assert set(outcome.status.provided) == {"device", "seed", "libraries"}
    assert outcome.status.provided["device"] == "ddsim"
    assert list(outcome.status.provided["libraries"]) == ["mqt-core"]


def test_params_are_bound_to_inputs() -> None:
    found = results(text("rotation.qasm"), shots=20000, params={"theta": 1.0})

    assert near(found["counts"]["1"], 20000, math.sin(0.5) ** 2)


def test_an_exact_value_needs_no_shots() -> None:
    program = THREE + "qubit[2] q; ry(0.4) q[0]; cx q[0], q[1];"
    observable = (("Z0", 1.0), ("X0 X1", 0.5), ("I", 2.0), ("Z0 Z1", -1.0), ("Y1 X0", 3.0))

    found = results(program, kind="estimation", shots=None, observable=observable)

    assert found["std_error"] == 0.0
    assert found["shots"] is None
    assert found["value"] == pytest.approx(math.cos(0.4) + 0.5 * math.sin(0.4) + 2 - 1, abs=1e-9)


def test_a_value_from_shots_comes_with_its_error() -> None:
    program = THREE + "qubit q; ry(0.4) q;"

    found = results(program, kind="estimation", shots=40000, observable=(("Z0", 2.0), ("X0", 1.0), ("I", 5.0)))

    exact = 2 * math.cos(0.4) + math.sin(0.4) + 5
    assert found["shots"] == 40000
    assert 0.002 < found["std_error"] < 0.02
    assert abs(found["value"] - exact) < 5 * found["std_error"]


def test_an_exact_value_of_many_qubits_builds_no_long_vector() -> None:
    chain = "".join(f"cx q[{place}], q[{place + 1}];" for place in range(199))
    everywhere = " ".join(f"X{place}" for place in range(200))

    found = results(
        TWO + f"qreg q[200]; h q[0]; {chain}",
        kind="estimation",
        shots=None,
        observable=((everywhere, 1.0), ("Z0 Z199", 1.0), ("Z7", 1.0)),
    )

    assert found["value"] == pytest.approx(2, abs=1e-9)


def test_a_value_after_measurements_inside_averages_over_their_outcomes() -> None:
    program = THREE + "qubit[2] q; bit c; ry(0.4) q[0]; c = measure q[0]; if (c) x q[1]; h q[0];"

    found = results(program, kind="estimation", shots=None, observable=(("Z1", 1.0), ("X0", 1.0)))

    assert found["value"] == pytest.approx(2 * math.cos(0.4), abs=1e-9)


def test_several_programs_in_one_job_come_back_as_parts() -> None:
    found = results(text("bell.qasm"), text("qft.qasm"), text("bell.qasm"), kind="multi", shots=500)

    assert [part["bits"][0] for part in found["parts"]] == ["c[1]", "c[4]", "c[1]"]
    assert found["parts"][1]["counts"] == {"10101": 500}
    assert found["parts"][0]["counts"] != found["parts"][2]["counts"]


def test_a_mistake_in_a_program_names_file_place_and_device() -> None:
    assert failure(TWO + "qreg q[1];\n  fo q[0];") == 'programs/x.qasm:4:3: unknown gate "fo" (device ddsim)'


def test_an_observable_beyond_the_qubits_is_named() -> None:
    message = failure(TWO + "qreg q[2];", kind="estimation", shots=None, observable=(("Z2", 1.0),))

    assert message == "programs/x.qasm: the observable names qubit 2, and the program has 2 (device ddsim)"


def test_a_program_without_qubits_is_named() -> None:
    assert failure("OPENQASM 3.0;\nbit c;") == "programs/x.qasm: the program has no qubits (device ddsim)"
