"""Exit codes, as pure functions."""

from __future__ import annotations

from itertools import combinations

import pytest

from qrun.cli.exits import Ends, exit_code, uncertain, unsatisfied
from qrun.record import Attempt, Output, Phase, Record

ORDER = {
    "interrupted": 130,
    "store": 5,
    "uncertain": 6,
    "over_budget": 7,
    "error": 1,
    "unsatisfied": 3,
    "waiting": 4,
}
OUTPUT = Output(name="results.json", sha256="0" * 64, size=1)


def record(phase: Phase, *, provider: str = "memory", message: str | None = None, **fields: object) -> Record:
    attempt = Attempt(n=1, marker="qr1x", phase=phase, message=message)
    return Record(
        key="bell",
        digest="d",
        digest_without_site="d",
        provider=provider,
        device="qpu",
        attempts=(attempt,),
        **fields,  # type: ignore[arg-type]  # a test's shorthand
    )


def test_nothing_to_tell_is_zero() -> None:
    assert exit_code(Ends()) == 0


@pytest.mark.parametrize("name", ORDER)
def test_each_end_has_its_code(name: str) -> None:
    assert exit_code(Ends(**{name: True})) == ORDER[name]


@pytest.mark.parametrize(("first", "second"), list(combinations(ORDER, 2)))
def test_of_two_ends_the_earlier_in_the_order_is_told(first: str, second: str) -> None:
    assert exit_code(Ends(**{first: True, second: True})) == ORDER[first]


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.LOST])
def test_a_bad_end_counts_until_it_is_accepted(phase: Phase) -> None:
    assert unsatisfied(record(phase))
    assert not unsatisfied(record(phase, accepted=True))


def test_what_the_user_cancelled_counts_as_accepted() -> None:
    assert not unsatisfied(record(Phase.CANCELLED))


def test_what_the_manifests_timeout_cancelled_does_not() -> None:
    assert unsatisfied(record(Phase.CANCELLED, message="timeout: ran for more than 5 s"))


def test_a_success_counts_where_its_outputs_are_missing() -> None:
    assert not unsatisfied(record(Phase.SUCCEEDED, outputs=(OUTPUT,)))
    assert unsatisfied(record(Phase.SUCCEEDED, outputs=(OUTPUT,)), missing=True)
    assert unsatisfied(record(Phase.SUCCEEDED))


def test_a_job_that_was_not_run_or_still_runs_is_no_bad_end() -> None:
    assert not unsatisfied(None)
    assert not unsatisfied(record(Phase.LIVE))


def test_an_intent_is_uncertain_unless_it_is_local() -> None:
    assert uncertain([record(Phase.INTENT)])
    assert uncertain([record(Phase.UNCERTAIN)])
    assert not uncertain([record(Phase.INTENT, provider="local"), record(Phase.LIVE)])
