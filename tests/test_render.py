"""Renderers: text that is safe to print, and says what happened."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrun import events
from qrun.plan import Action, Pair, Step
from qrun.record import Attempt, Output, Phase, Record
from qrun.render import jobs as render_jobs
from qrun.render import plan as render_plan
from qrun.render import table
from qrun.render.histogram import bars, headline
from qrun.render.jobs import Standing
from qrun.render.live import Live
from qrun.render.progress import line
from qrun.render.safe import hidden, safe, shown
from qrun.render.show import results_lines
from qrun.render.words import columns, count, duration, listed, size
from tests.scene import job

MESSAGES = Path(__file__).parent / "golden" / "messages"
CASES = sorted(MESSAGES.glob("*.json"))


# --- foreign text -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain words", "plain words"),
        ("two\nlines", "two␤lines"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("tab\tbell\x07", "tab\\x09bell\\x07"),
        ("\x7f\x9b2J", "\\x7f\\x9b2J"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028separator", "line\\u2028separator"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("half\ud800", "half\\ud800"),
        ("θ = π/2, 量子", "θ = π/2, 量子"),
    ],
)
def test_what_steers_a_terminal_is_shown_as_an_escape(text: str, wanted: str) -> None:
    assert safe(text) == wanted


@given(st.text())
def test_safe_text_has_one_line_and_no_control_character(text: str) -> None:
    plain = safe(text)

    assert len(plain.splitlines()) <= 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x202A <= ord(c) <= 0x202E for c in plain)
    plain.encode()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Authorization: Bearer abc123def456", "Authorization: [hidden]"),
        ('{"q-api-token": "s3cr3t-value"}', '{"q-api-token": "[hidden]"}'),
        ("GET https://h/x?X-Amz-Signature=0123abcd&n=1", "GET https://h/x?X-Amz-Signature=[hidden]&n=1"),
        ("token eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl was refused", "token [hidden] was refused"),
        ("proxy http://me:pa55word@proxy:3128 said no", "proxy http://[hidden]@proxy:3128 said no"),
        ("password=hunter22 is wrong", "password=[hidden] is wrong"),
        ('shots is "many"; a whole number is needed', 'shots is "many"; a whole number is needed'),
    ],
)
def test_what_looks_like_a_credential_is_hidden(text: str, wanted: str) -> None:
    assert hidden(text) == wanted


@pytest.mark.parametrize(
    "spelled",
    ['pass/w"ord+1', "cGFzcy93Im9yZCsx", "pass%2Fw%22ord%2B1", 'pass/w\\"ord+1'],
)
def test_a_known_secret_is_hidden_however_it_is_spelled(spelled: str) -> None:
    assert spelled not in shown(f"the server said {spelled} is wrong", ['pass/w"ord+1'])


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=[case.stem for case in CASES])
def test_an_event_has_this_line(case: Path) -> None:
    whole = json.loads(case.read_text())
    kind = getattr(events, whole["event"].pop("type"))
    event = kind(**{name: _value(value) for name, value in whole["event"].items()})

    assert line(event, few=whole.get("few", True)) == whole["line"]


def _value(value: Any) -> Any:
    return (
        tuple(tuple(item) if isinstance(item, list) else item for item in value) if isinstance(value, list) else value
    )


def test_every_event_has_a_case() -> None:
    told = {json.loads(case.read_text())["event"]["type"] for case in CASES}

    assert told == {kind.__name__ for kind in events.Event.__args__}


def test_the_live_display_prints_what_matters_above_the_bar() -> None:
    stream = io.StringIO()
    with Live(stream, jobs=2) as live:
        live.show(events.Running(experiment="bell", job="bell", word="running"))
        live.show(
            events.Rested(experiment="bell", job="bell", attempt=1, phase="failed", word="ERROR", message="\x1b[2Jno")
        )

    assert stream.getvalue() == "running    bell\nfailed     bell  \\x1b[2Jno\n\n"


# --- results ----------------------------------------------------------------------------------------------------------


def test_few_outcomes_stand_in_the_order_of_their_names() -> None:
    assert bars({"11": 250, "00": 750}, width=8) == ["00   75.0 %  750  ████████", "11   25.0 %  250  ██▋"]


def test_many_outcomes_are_cut_to_the_most_frequent() -> None:
    counts = {f"{n:05b}": n + 1 for n in range(20)}

    lines = bars(counts, rows=4, width=4)

    assert lines == [
        "10011    9.5 %  20  ████",
        "10010    9.0 %  19  ███▊",
        "10001    8.6 %  18  ███▋",
        "... and 17 more outcomes with 72.9 %",
    ]


def test_a_long_outcome_is_cut_in_its_middle() -> None:
    [text] = bars({"0" * 280: 5}, width=1)

    assert text == "0" * 23 + "…" + "0" * 24 + "  100.0 %  5  █"


def test_no_counts_draw_nothing() -> None:
    assert bars({}) == []
    assert bars({"0": 0}) == []


def test_a_headline_names_the_first_four_outcomes() -> None:
    assert headline({"00": 5, "11": 4}) == "00: 5, 11: 4"
    assert headline(dict.fromkeys("abcde", 1)) == "a: 1, b: 1, c: 1, d: 1, ..."


@pytest.mark.parametrize(
    ("results", "wanted"),
    [
        (None, []),
        ({"value": 0.5, "std_error": 0, "shots": None}, ["value 0.5 (exact)"]),
        ({"value": -0.25, "std_error": 0.01, "shots": 400}, ["value -0.25 ± 0.01 (400 shots)"]),
        (
            {"parts": [{"value": 1, "std_error": 0, "shots": None}]},
            ["part 1 of 1", "  value 1 (exact)"],
        ),
        (
            {"bits": ["c[0]"], "counts": {"1": 3}, "shots": 3},
            [
                "3 shots, bits from left to right: c[0]",
                "1  100.0 %  3  " + "█" * 40,
            ],
        ),
        ({"energies": [1, 2]}, ['{"energies": [1, 2]}']),
    ],
)
def test_results_are_drawn_by_their_kind(results: Any, wanted: list[str]) -> None:
    assert list(results_lines(results)) == wanted


# --- plans and tables -------------------------------------------------------------------------------------------------


def _step(key: str, action: Action, reason: str, phase: Phase | None = None, **more: Any) -> Step:
    wanted = job(key)
    attempt = Attempt(n=1, marker="qr1x", phase=phase or Phase.ABSENT)
    record = Record(
        key=key,
        digest=wanted.digest,
        digest_without_site=wanted.digest,
        provider="memory",
        device="qpu",
        attempts=(attempt,) if phase else (),
    )
    return Step(pair=Pair(job=wanted, record=record if phase else None, **more), action=action, reason=reason)


def test_a_plan_lists_what_is_to_be_done_and_counts_the_rest() -> None:
    steps = [
        _step("qft", Action.SUBMIT, "new"),
        _step("a-longer-name", Action.HOLD, 'needs "qft", which is failed', Phase.ABSENT),
        _step("done", Action.NONE, "done", Phase.SUCCEEDED),
        _step("bad", Action.NONE, "failed", Phase.FAILED),
        _step("moved", Action.RELABEL, "labels changed", Phase.SUCCEEDED, formerly="old"),
        _step("new", Action.NONE, "done", Phase.SUCCEEDED, formerly="older"),
    ]

    assert "\n".join(render_plan.texts([("exp", "specs/exp.yaml", steps)])) == "\n".join(
        [
            "exp (specs/exp.yaml)",
            "  + submit   exp.qft              sky/qpu  100 shots  (new)",
            '  ! hold     exp.a-longer-name    sky/qpu  100 shots  (needs "qft", which is failed)',
            '  = relabel  exp.moved            sky/qpu  100 shots  (labels changed, renamed from "old")',
            "  ~ rename   exp.older → exp.new",
            "",
            "1 to submit, 1 to relabel, 1 held, 1 renamed, 1 done, 1 failed",
        ]
    )


def test_a_plan_of_nothing_says_so() -> None:
    assert list(render_plan.texts([])) == ["no jobs"]


def test_columns_that_hold_nothing_are_left_out_of_a_table() -> None:
    last = Attempt(n=2, marker="qr1x", phase=Phase.FAILED, word="ERROR_17", message="bad \x1b[31mqubit")
    record = Record(
        key="qft",
        digest="d",
        digest_without_site="d",
        provider="memory",
        device="qpu",
        attempts=(last,),
        outputs=(Output(name="log", sha256="0" * 64, size=3),),
    )
    standing = Standing(experiment="exp", key="qft", job=job("qft"), record=record)

    assert table.lines(table.HEADERS, render_jobs.rows([standing])) == [
        "JOB      PHASE              WHERE    SHOTS  ATTEMPT  REMARK",
        "exp.qft  failed (ERROR_17)  sky/qpu  100    2        bad \\x1b[31mqubit",
    ]


def test_words_and_numbers() -> None:
    assert [count(1, "job"), count(2, "job")] == ["1 job", "2 jobs"]
    assert listed(["a", "b", "c"], most=2) == '"a", "b" and 1 more'
    assert [duration(s) for s in (1, 119, 720, 7200, 11520)] == ["1 s", "119 s", "12 min", "2 h", "3 h 12 min"]
    assert [size(n) for n in (340, 1536, 3 << 20, 5 << 30)] == ["340 B", "1.5 KiB", "3.0 MiB", "5.0 GiB"]
    assert columns([("a", "b"), ("long", "c")]) == ["a     b", "long  c"]
