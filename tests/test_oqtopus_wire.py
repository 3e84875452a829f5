"""What qrun says to an OQTOPUS cloud, and how it understands what comes back; nobody is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qrun.errors import Rejected, Unexpected
from qrun.http import Reply, Words
from qrun.manifest.schema import Shape
from qrun.provider import Submission
from qrun.providers.oqtopus import CAPABILITIES, recalled, wire
from qrun.record import Phase
from tests.oqtopus import BELL, MARK, MARKER, submission


def payload(wanted: Submission) -> Any:
    return wire.payload(wanted.jobs[0], wanted.programs)


def refusal(wanted: Submission) -> str:
    with pytest.raises(Rejected) as caught:
        wire.check(wanted.jobs[0])
        wire.payload(wanted.jobs[0], wanted.programs)
    assert caught.value.members == ("job",)
    return str(caught.value)


def reply(body: bytes | Any, status: int = 400) -> Reply:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status=status, headers={}, content=content, received=0.0)


# --- what we say ------------------------------------------------------------------------------------------------------


def test_each_kind_is_sent_in_the_form_that_the_service_reads() -> None:
    assert payload(submission(BELL)) == {"program": [BELL]}
    assert payload(submission(BELL, "x", kind="multi")) == {"program": [BELL, "x"]}
    assert payload(submission(BELL, kind="estimation", observable=(("X0 Z1", 0.5), ("I", 2)))) == {
        "program": [BELL],
        "operator": [{"pauli": "X0 Z1", "coeff": 0.5}, {"pauli": "I", "coeff": 2}],
    }
    assert payload(submission("print(1)\n", kind="sse", path="run.py")) == {"sse_program": "print(1)\n"}


def test_the_rest_goes_with_the_submit_and_holds_no_program() -> None:
    options = {"transpiler_info": {"transpiler_lib": None}, "name": "bell state"}

    told = wire.metadata(submission(options=options, shots=1000).jobs[0])

    assert told == {
        "name": "bell state",
        "device_id": "qulacs",
        "job_type": "sampling",
        "shots": 1000,
        "transpiler_info": {"transpiler_lib": None},
        "simulator_info": {},
        "mitigation_info": {},
    }


def test_an_sse_job_says_one_shot_because_the_service_wants_a_number() -> None:
    assert wire.metadata(submission("", kind="sse", path="run.py").jobs[0])["shots"] == 1


def test_a_name_that_is_made_here_is_cut_to_what_the_service_keeps() -> None:
    wanted = submission()
    job = wanted.jobs[0]
    long = type(job)(**{**{f: getattr(job, f) for f in job.__slots__}, "key": "k" * 300})

    assert wire.metadata(long)["name"] == ("tests." + "k" * 300)[:256]


def test_the_marks_end_the_description_and_come_through_when_the_text_is_too_long() -> None:
    assert wire.described("", MARKER, MARK) == f"{MARKER} {MARK}"
    assert wire.described(" a bell state ", MARKER, MARK) == f"a bell state {MARKER} {MARK}"

    long = wire.described("x" * 4096, MARKER, MARK)

    assert len(long) == 1024
    assert long.startswith("xxx") and f"x… {MARKER} {MARK}" in long
    assert wire.marks(long) == (MARKER, MARK)


def test_marks_that_a_user_wrote_are_never_taken_for_ours() -> None:
    other = "qr1" + "c" * 26

    assert wire.marks(f"see {other} {MARK} too") == (None, None)
    assert wire.marks(f"see {other} {MARK} {MARKER} {MARK}") == (MARKER, MARK)
    assert wire.marks(f"see {MARKER}") == (None, None)
    assert wire.marks(f"see {MARKER} {MARK}x") == (None, None)
    assert wire.marks(f"seeqr1{MARKER} {MARK}") == (None, None)
    assert wire.unmarked(f"a bell state {MARKER} {MARK}") == "a bell state"


REFUSED = {
    "only one program fits; use kind: multi": submission(BELL, BELL),
    "0 is not a number of shots from 1 to 10000000": submission(shots=0),
    "10000001 is not a number of shots from 1 to 10000000": submission(shots=10_000_001),
    "a device's id has 64 characters at most": submission(device="d" * 65),
    '"run.txt" is not a Python program; its name ends in .py': submission("", kind="sse", path="run.txt"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_beyond_the_service_s_limits_is_refused_before_it_is_sent(words: str) -> None:
    assert refusal(REFUSED[words]).endswith(words)


def test_a_script_may_have_as_many_bytes_as_stay_below_10_mib_in_base64() -> None:
    most = (10 * 2**20 - 4) // 4 * 3

    wire.check(submission("x" * most, kind="sse", path="run.py").jobs[0])

    assert "in base64 they must stay below 10 MiB" in refusal(submission("x" * (most + 1), kind="sse", path="run.py"))


def test_a_program_that_is_not_text_is_refused_with_its_line() -> None:
    wanted = submission("x")
    broken = dict.fromkeys(wanted.programs, b"OPENQASM 3.0;\n\xff")

    with pytest.raises(Rejected, match=r"^programs/x.qasm:2: the program is not UTF-8 text$"):
        wire.payload(wanted.jobs[0], broken)


# --- what tells one job from another ----------------------------------------------------------------------------------


def test_the_fingerprint_of_what_is_sent_is_that_of_what_comes_back() -> None:
    job = submission(shots=100, options={"mitigation_info": {"ro_error_mitigation": "pseudo_inverse"}}).jobs[0]
    sent = wire.fingerprint(wire.metadata(job), {"program": [BELL]})
    rewritten = {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 1}}
    document = {
        **wire.metadata(job),
        "job_id": "j",
        "name": "another",
        "description": f"x {MARKER} {MARK}",
        "status": "running",
        "transpiler_info": rewritten,
        "simulator_info": None,
    }

    assert wire.fingerprint(document, {"program": [BELL]}) == sent
    assert wire.fingerprint({**document, "shots": 101}, {"program": [BELL]}) != sent
    assert wire.fingerprint({**document, "device_id": "qpu"}, {"program": [BELL]}) != sent
    assert wire.fingerprint({**document, "transpiler_info": {"transpiler_lib": None}}, {"program": [BELL]}) != sent
    assert wire.fingerprint(document, {"program": [BELL + " "]}) != sent
    assert wire.fingerprint({**document, "shots": 2**60}, {"program": [BELL]}) is None


# --- what they say ----------------------------------------------------------------------------------------------------

ERRORS: list[tuple[Any, Words | None]] = [
    ({"message": "device not found"}, Words(code=None, message="device not found")),
    (
        {"message": "no", "message_code": "E1", "message_params": {"a": 1}},
        Words(code="E1", message="no"),
    ),
    ({"detail": "Unauthorized"}, Words(code=None, message="Unauthorized")),
    (
        {
            "detail": [
                {"type": "t", "loc": ["body", "shots"], "msg": "too many"},
                {"loc": ["query", "q"], "msg": "long"},
            ]
        },
        Words(code=None, message="shots: too many; query.q: long"),
    ),
    ({"detail": []}, None),
    ({"message": 3}, None),
    (["message"], None),
    (b"<html>502</html>", None),
    (b"", None),
    (b"[" * 100_000, None),
    (b'{"message": "\xff"}', None),
]


@pytest.mark.parametrize(("body", "words"), ERRORS)
def test_the_service_s_own_errors_are_told_from_a_proxy_s(body: Any, words: Words | None) -> None:
    assert wire.words(reply(body)) == words


def test_each_word_of_the_service_has_a_phase_and_an_unknown_one_has_none() -> None:
    phases = {word: wire.status({"status": word}).phase for word in (*wire.WORDS, "paused")}

    assert phases == {
        "registered": Phase.LIVE,
        "submitted": Phase.LIVE,
        "ready": Phase.LIVE,
        "running": Phase.LIVE,
        "cancelling": Phase.LIVE,
        "succeeded": Phase.SUCCEEDED,
        "failed": Phase.FAILED,
        "cancelled": Phase.CANCELLED,
        "paused": None,
    }
    assert wire.status({"status": "paused"}).word == "paused"
    assert wire.status({"status": "running"}).running
    assert not wire.status({"status": "ready"}).running


def test_what_has_ended_is_recorded_with_times_in_utc_and_the_service_s_words() -> None:
    told = wire.status(
        {
            "status": "failed",
            "submitted_at": "2026-01-02T03:04:05",
            "ready_at": "2026-01-02T03:04:06.5Z",
            "running_at": "2026-01-02T12:04:07+09:00",
            "ended_at": "yesterday",
            "execution_time": 1.234,
            "job_info": {"message": "no such gate", "result": "https://storage/?signature=s"},
        }
    )

    assert told.message == "no such gate"
    assert told.provided == {
        "submitted": "2026-01-02T03:04:05Z",
        "ready": "2026-01-02T03:04:06.500000Z",
        "running": "2026-01-02T03:04:07Z",
        "execution_time": 1.234,
    }


def test_a_job_that_failed_before_it_ran_has_neither_a_start_nor_a_duration() -> None:
    told = wire.status({"status": "failed", "submitted_at": "2026-01-02T03:04:05Z", "job_info": {}})

    assert told.provided == {"submitted": "2026-01-02T03:04:05Z"}
    assert told.message is None


@pytest.mark.parametrize("document", [{}, {"status": 3}, [], {"status": None}])
def test_a_document_without_a_status_is_an_answer_of_unknown_shape(document: Any) -> None:
    with pytest.raises(Unexpected, match='has no "status" as it should'):
        wire.status(document)


@pytest.mark.parametrize("job_id", ["", "../../etc", "a/b", "a b", "x" * 129, 7, None])
def test_an_id_that_cannot_be_a_part_of_a_path_is_not_taken(job_id: Any) -> None:
    with pytest.raises(Unexpected):
        wire.handle({"job_id": job_id})


def test_a_listed_job_is_known_by_its_marks_and_an_sse_job_has_no_shots() -> None:
    document = {
        "job_id": "j1",
        "status": "ready",
        "name": "bell",
        "description": f"text {MARKER} {MARK}",
        "device_id": "qulacs",
        "submitted_at": "2026-01-02T03:04:05Z",
        "job_type": "sse",
        "shots": 1,
    }

    found = wire.found(document)

    assert (found.handle, found.marker, found.mark) == ("j1", MARKER, MARK)
    assert (found.kind, found.shots, found.device) == ("sse", None, "qulacs")
    assert (found.created, found.phase, found.started) == ("2026-01-02T03:04:05Z", Phase.LIVE, True)


def test_a_job_that_was_never_submitted_is_told_from_one_that_was_cancelled_later() -> None:
    assert not wire.submitted({"job_id": "j", "status": "registered"})
    assert not wire.submitted({"job_id": "j", "status": "cancelled"})
    assert wire.submitted({"job_id": "j", "status": "cancelled", "submitted_at": "2026-01-02T03:04:05Z"})
    assert wire.submitted({"job_id": "j", "status": "cancelled", "name": "bell"})
    assert wire.submitted({"job_id": "j", "status": "submitted"})


def test_links_which_are_credentials_are_not_kept_with_the_document() -> None:
    document = {"job_id": "j", "status": "failed", "job_info": {"input": "https://s/?signature=s", "message": "no"}}

    kept = wire.kept(document)

    assert json.loads(kept) == {"job_id": "j", "status": "failed", "job_info": {"message": "no"}}
    assert wire.kept({"b": 1, "a": None}) == b'{"a":null,"b":1,"job_info":{}}'


# --- the way back -----------------------------------------------------------------------------------------------------


def test_a_job_is_given_back_as_a_manifest_would_say_it() -> None:
    document = {
        "job_id": "j",
        "status": "succeeded",
        "job_type": "estimation",
        "device_id": "qpu",
        "shots": 500,
        "description": f"energy {MARKER} {MARK}",
        "transpiler_info": {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 1}},
        "simulator_info": {},
        "mitigation_info": {"ro_error_mitigation": "pseudo_inverse"},
    }
    content = {"program": [BELL], "operator": [{"pauli": "X 0 Z 1", "coeff": 0.5}, {"pauli": "I"}, {"pauli": "Y12"}]}

    assert recalled.fields(document, content) == {
        "device": "qpu",
        "kind": "estimation",
        "shots": 500,
        "observable": [["X0 Z1", 0.5], ["I", 1], ["Y12", 1]],
        "options": {"mitigation_info": {"ro_error_mitigation": "pseudo_inverse"}},
        "description": "energy",
    }


def test_programs_come_back_under_names_of_ours() -> None:
    assert recalled.programs({"program": ["a"]}, "sampling") == (("program.qasm", b"a"),)
    assert recalled.programs({"program": ["a", "b"]}, "multi") == (("program-0.qasm", b"a"), ("program-1.qasm", b"b"))
    assert recalled.programs({"sse_program": "c"}, "sse") == (("program.py", b"c"),)
    with pytest.raises(Unexpected):
        recalled.programs({"program": [3]}, "sampling")
    with pytest.raises(Unexpected):
        recalled.fields({"job_type": "annealing"}, {})


# --- options ----------------------------------------------------------------------------------------------------------


def verdicts(kind: str, options: dict[str, Any]) -> list[str]:
    schema = CAPABILITIES.kinds[kind].options
    told = Shape({"x-name": f"the options of {kind}", **schema}, schema).verdicts(options)
    return [f"{'.'.join(map(str, verdict.path))}: {verdict.message}" for verdict in told]


TRANSPILER = "{transpiler_lib: qiskit, transpiler_options: {…}}, or {transpiler_lib: null} for no transpiling"
FLAWS: list[tuple[dict[str, Any], str]] = [
    ({"transpiler_info": {"transpiler_lib": "qiskit"}}, f"transpiler_info: a map is not {TRANSPILER}"),
    ({"transpiler_info": {"transpiler_options": {}}}, f"transpiler_info: a map is not {TRANSPILER}"),
    (
        {"transpiler_info": {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 4}}},
        "transpiler_info.transpiler_options.optimization_level: 4 is not a whole number from 0 to 3",
    ),
    (
        {"mitigation_info": {"ro_error_mitigation": "least_square"}},
        'mitigation_info.ro_error_mitigation: "least_square" is not one of "pseudo_inverse"',
    ),
    ({"name": ""}, "name: is empty; a text of 1 to 256 characters is needed"),
    ({"seed": 3}, "seed: is not a field of the options of sampling"),
]


@pytest.mark.parametrize(("options", "message"), FLAWS)
def test_options_that_the_service_would_stumble_over_are_told_before(options: dict[str, Any], message: str) -> None:
    assert verdicts("sampling", options) == [message]


@pytest.mark.parametrize(
    "options",
    [
        {"transpiler_info": {}},
        {"transpiler_info": {"transpiler_lib": None}},
        {"transpiler_info": {"transpiler_lib": "ouqu-tp", "transpiler_options": {"anything": 1}}},
        {"simulator_info": {"n_qubits": 5, "simulation_opt": {"optimization_method": "light"}, "other": True}},
        {"mitigation_info": {"ro_error_mitigation": "pseudo_inverse"}, "name": "bell"},
    ],
)
def test_options_of_the_service_are_taken(options: dict[str, Any]) -> None:
    assert verdicts("sampling", options) == []


def test_only_the_name_is_local_and_a_script_has_no_other_option() -> None:
    for kind in CAPABILITIES.kinds.values():
        local = {name for name, schema in kind.options["properties"].items() if schema.get("x-local")}
        assert local == {"name"}
    assert set(CAPABILITIES.kinds["sse"].options["properties"]) == {"name"}


def test_each_option_has_a_description_and_an_example_that_is_valid() -> None:
    for kind in CAPABILITIES.kinds.values():
        for name, schema in kind.options["properties"].items():
            assert schema["description"]
            for example in schema["examples"]:
                assert Shape(schema, schema).verdicts(example) == [], name
