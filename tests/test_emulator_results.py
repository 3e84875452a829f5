"""What the devices of the stand-in compute: counts, expectation values, joined programs, and uploaded scripts."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from qrun.emulators.oqtopus.payload import PayloadError, joined, of_parts
from qrun.emulators.qasm import Unwritten, written
from qrun.emulators.sandbox import Sandbox, ScriptError
from qrun.providers.local.openqasm.program import parse
from qrun.providers.local.openqasm.tokens import Text
from tests.emulator import Emulator, fetch, shared, stand_in, until, unzipped
from tests.test_emulator import BELL

X0 = 'OPENQASM 3;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nx q[0];\nc = measure q;\n'
X1 = X0.replace("x q[0]", "x q[1]")
ROTATION = 'OPENQASM 3;\ninclude "stdgates.inc";\nqubit[1] q;\nry(1.0) q[0];\n'


@pytest.fixture
def cloud() -> Iterator[Emulator]:
    account = shared().new_account()
    yield account
    account.close()


def result(cloud: Emulator, payload: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
    job_id = cloud.submit(payload, **asked)
    job = cloud.rest(job_id)
    assert job["status"] == "succeeded", job
    found: dict[str, Any] = json.loads(cloud.output(job_id))
    return found


def test_counts_have_bit_0_rightmost(cloud: Emulator) -> None:
    assert result(cloud, {"program": [X0]}, shots=70) == {
        "sampling": {"counts": {"01": 70}, "divided_counts": None},
        "estimation": None,
    }


def test_counts_are_drawn_from_the_state_of_the_program(cloud: Emulator) -> None:
    counts = result(cloud, {"program": [BELL]}, shots=10_000)["sampling"]["counts"]

    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 10_000
    assert 4_500 < counts["00"] < 5_500


def test_mitigated_counts_are_counts(cloud: Emulator) -> None:
    mitigation = {"ro_error_mitigation": "pseudo_inverse"}

    assert result(cloud, {"program": [X1]}, shots=5, mitigation_info=mitigation)["sampling"]["counts"] == {"10": 5}


def test_several_programs_are_joined_with_the_first_one_rightmost(cloud: Emulator) -> None:
    found = result(cloud, {"program": [X0, X1, BELL]}, job_type="multi_manual", shots=200)["sampling"]

    assert {bits[2:] for bits in found["counts"]} == {"1001"}
    assert sum(found["counts"].values()) == 200
    assert found["divided_counts"]["0"] == {"01": 200}
    assert found["divided_counts"]["1"] == {"10": 200}
    assert found["divided_counts"]["2"] == {bits[:2]: number for bits, number in found["counts"].items()}


def test_joined_counts_divide_into_those_of_each_program() -> None:
    parts = [{"00": 30, "11": 70}, {"0": 45, "1": 55}]

    counts = joined(parts, seed=5)

    for place, cut in ((0, slice(1, None)), (1, slice(0, 1))):
        again: dict[str, int] = {}
        for bits, number in counts.items():
            again[bits[cut]] = again.get(bits[cut], 0) + number
        assert again == parts[place]
    assert len(counts) == 4


def test_the_combined_program_is_bare_text_and_yields_the_joined_counts(cloud: Emulator) -> None:
    job_id = cloud.submit({"program": [X0, X1]}, job_type="multi_manual")
    cloud.rest(job_id)

    combined = cloud.output(job_id, "combined_program").decode()

    assert combined.startswith("OPENQASM 3.0;")
    assert result(cloud, {"program": [combined]}, shots=9)["sampling"]["counts"] == {"1001": 9}


@pytest.mark.parametrize("pauli", ["Z 0 Z 1", "Z0 Z1", "Z0Z1"])
def test_an_expectation_value_is_a_number_with_its_deviation(cloud: Emulator, pauli: str) -> None:
    operator = [{"pauli": pauli, "coeff": 1.5}, {"pauli": "I"}, {"pauli": "Z 0", "coeff": 0.25}]

    found = result(cloud, {"program": [X0], "operator": operator}, job_type="estimation", shots=1)

    assert found == {"sampling": None, "estimation": {"exp_value": -1.5 + 1 - 0.25, "stds": 0.0}}


def test_an_expectation_value_scatters_as_its_shots_allow(cloud: Emulator) -> None:
    payload = {"program": [ROTATION], "operator": [{"pauli": "Z 0", "coeff": 1.0}]}

    found = result(cloud, payload, job_type="estimation", shots=10_000)["estimation"]

    assert abs(found["exp_value"] - 0.5403) < 0.05
    assert abs(found["stds"] - 0.0084) < 0.001


@pytest.mark.parametrize(
    "operator", [None, [], [{"coeff": 1}], [{"pauli": "Q 0"}], [{"pauli": ""}], [{"pauli": "X 0", "coeff": [1, 0]}]]
)
def test_an_operator_that_is_none_is_refused(operator: Any) -> None:
    with pytest.raises(PayloadError):
        of_parts("estimation", [BELL], operator)


def test_the_transpiled_program_says_the_same_as_the_program(cloud: Emulator) -> None:
    job_id = cloud.submit({"program": [X1]})
    cloud.rest(job_id)

    told = json.loads(cloud.output(job_id, "transpile_result"))

    assert sorted(told) == ["stats", "transpiled_program", "virtual_physical_mapping"]
    assert told["virtual_physical_mapping"]["qubit_mapping"] == {"0": 0, "1": 1}
    assert result(cloud, {"program": [told["transpiled_program"]]}, shots=3)["sampling"]["counts"] == {"10": 3}


def test_without_a_transpiler_there_is_no_transpiled_program(cloud: Emulator) -> None:
    job = cloud.rest(cloud.submit({"program": [X1]}, transpiler_info={"transpiler_lib": None}))

    assert sorted(job["job_info"]) == ["input", "result"]
    assert job["transpiler_info"] == {"transpiler_lib": None}


def test_a_transpiler_without_its_options_fails_the_job(cloud: Emulator) -> None:
    job = cloud.rest(cloud.submit({"program": [X1]}, transpiler_info={"transpiler_lib": "qiskit"}))

    assert (job["status"], "running_at" in job) == ("failed", False)


def test_the_same_seed_gives_the_same_results_to_the_same_jobs() -> None:
    found = []
    for _ in range(2):
        with stand_in("--seed", "11") as cloud:
            found.append([result(cloud, {"program": [BELL]}, shots=1000) for _ in range(3)])

    assert found[0] == found[1]
    assert len({json.dumps(each) for each in found[0]}) > 1


GATES = """\
OPENQASM 3;
include "stdgates.inc";
qubit[3] q;
bit[2] c;
h q[0]; ctrl @ rx(0.3) q[0], q[1]; negctrl @ x q[1], q[2]; u3(0.1, 0.2, 0.3) q[1]; sxdg q[2];
rzz(0.4) q[0], q[1]; rxx(0.2) q[1], q[2]; ryy(0.1) q[0], q[2]; U(0.7, 0.1, 0.2) q[0]; ccx q[0], q[1], q[2];
c[0] = measure q[0];
if (c[0] == 1) { x q[1]; } else { reset q[1]; }
c[1] = measure q[1];
"""


def test_a_program_that_is_written_anew_is_read_as_the_same() -> None:
    circuit = parse(Text(GATES))

    again = parse(Text(written([circuit])))

    assert parse(Text(written([again]))) == again
    assert (len(again.qubits), len(again.bits)) == (3, 2)


def test_bits_that_are_computed_are_not_written() -> None:
    with pytest.raises(Unwritten):
        written([parse(Text("OPENQASM 3;\nqubit q;\nbit[2] c;\nc[0] = measure q;\nc = ~c;\n"))])


# --- uploaded scripts -------------------------------------------------------------------------------------------------

SSE = {"job_type": "sse", "shots": 1}


def test_a_script_prints_its_log_and_its_last_job_gives_the_result(cloud: Emulator) -> None:
    script = f"""\
import sse_driver
print("first", sse_driver.run_sampling({X0!r}, 10))
print("last", sse_driver.run_estimation({X0!r}, [{{"pauli": "Z 0", "coeff": 2}}], 10))
"""
    job_id = cloud.submit({"sse_program": script}, **SSE)
    job = cloud.rest(job_id)

    assert job["status"] == "succeeded", job
    assert sorted(job["job_info"]) == ["input", "result", "sse_log"]
    assert cloud.output(job_id, "sse_log").decode().splitlines() == [
        "first {'counts': {'01': 10}, 'divided_counts': None}",
        "last {'exp_value': -2.0, 'stds': 0.0}",
    ]
    assert json.loads(cloud.output(job_id)) == {"sampling": None, "estimation": {"exp_value": -2.0, "stds": 0.0}}


def test_a_script_is_answered_as_the_official_clients_want_it(cloud: Emulator) -> None:
    script = f"""\
import json, sse_driver
request = {{"name": "inner", "device_id": "qulacs", "job_type": "multi_manual", "shots": 4}}
print(json.dumps(sse_driver.submit_job(request, {{"program": [{X0!r}, {X1!r}]}})))
"""
    job_id = cloud.submit({"sse_program": script}, **SSE)
    cloud.rest(job_id)

    inner = json.loads(cloud.output(job_id, "sse_log"))

    assert (inner["name"], inner["status"], inner["shots"]) == ("inner", "succeeded", 4)
    assert inner["job_info"]["result"]["sampling"]["counts"] == {"1001": 4}
    assert inner["job_info"]["input"] == {"program": [X0, X1]}


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('before')\nraise SystemExit(3)", "the program ended with exit code 3: before"),
        ("1 / 0", "the program ended with exit code 1: ZeroDivisionError: division by zero"),
        ("import sse_driver\nsse_driver.run_sampling('nonsense', 5)", "JobError: program 0:"),
        ("import sse_driver\nsse_driver.run_sampling('nonsense', 0)", "JobError: the request is not understood"),
    ],
)
def test_a_script_that_fails_has_a_message_and_neither_log_nor_result(cloud: Emulator, script: str, words: str) -> None:
    job = cloud.rest(cloud.submit({"sse_program": script}, **SSE))

    assert (job["status"], words in job["job_info"]["message"]) == ("failed", True), job
    assert sorted(job["job_info"]) == ["input", "message"]


def test_a_script_finds_an_empty_folder_and_no_variables_of_ours(cloud: Emulator) -> None:
    script = "import os\nprint(os.listdir(), os.environ['OQTOPUS_ENV'], sorted(os.environ))"
    job_id = cloud.submit({"sse_program": script}, **SSE)
    cloud.rest(job_id)

    told = cloud.output(job_id, "sse_log").decode()

    assert told.startswith("[] sse_container [")
    assert "HOME" not in told
    assert "PATH" not in told


def run(sandbox: Sandbox, script: str) -> bytes:
    async def submit(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"error": "there are no jobs here"}

    return asyncio.run(sandbox.run(script, submit))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("b = bytearray(2**30)", "MemoryError"),
        ("open('large', 'wb').write(bytes(2**26))", "by signal|File too large"),
        ("import time\ntime.sleep(3600)", "ran for more than 1 seconds"),
    ],
)
def test_a_script_has_little_memory_disk_and_time(tmp_path: Path, script: str, words: str) -> None:
    sandbox = Sandbox(library=tmp_path, python=sys.executable, seconds=1, memory=2**28, disk=2**25)

    with pytest.raises(ScriptError, match=words):
        run(sandbox, script)


def test_what_a_script_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    script = "import os, time\nif child := os.fork():\n    print(child)\nelse:\n    time.sleep(3600)"

    child = int(run(Sandbox(library=tmp_path), script))

    until(lambda: not alive(child))


def alive(pid: int) -> bool:
    """A process that has ended and waits for its parent is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_script_prints_is_kept_up_to_a_limit(tmp_path: Path) -> None:
    log = run(Sandbox(library=tmp_path), "for _ in range(12):\n    print('x' * 2**20)")

    assert len(log) == 10 * 2**20


def test_inputs_can_be_fetched_while_a_job_waits() -> None:
    waiting = shared().new_account(queue_delay=3600)
    job = waiting.job(waiting.submit({"sse_program": "print('é')"}, **SSE))

    assert json.loads(unzipped(fetch(job["job_info"]["input"]).content)) == {"sse_program": "print('é')"}
    waiting.close()
