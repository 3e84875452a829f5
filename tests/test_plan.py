"""`match`, `decide` and `arrange` on cases that are data: a file's name is the sentence, its content the case."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrun.budget import Budget
from qrun.errors import StoreError
from qrun.job import Conduct, Job, Target
from qrun.plan import Action, Need, Pair, Policy, Step, arrange, decide, match, need, over_budget
from qrun.provider import Capabilities, Kind, Recovery
from qrun.record import Attempt, Handle, Phase, Record, Records, record_from_json, union

CASES = sorted((Path(__file__).parent / "golden" / "plan").glob("*.json"))


def job(raw: Mapping[str, Any], provider: str) -> Job:
    target = Target(connection="sky", provider=provider, device="qpu", site=raw.get("site"))
    return Job(
        experiment="exp",
        key=raw["key"],
        target=target,
        kind="sampling",
        digest=raw["digest"],
        digest_without_site=raw.get("without", raw["digest"]),
        tags=tuple(raw.get("tags", ())),
        shots=raw.get("shots"),
        conduct=Conduct(attempts=raw.get("attempts", 1), needs=tuple(raw.get("needs", ()))),
    )


def record(raw: Mapping[str, Any], provider: str) -> Record:
    whole = {"provider": provider, "device": "qpu", "digest_without_site": raw.get("without", raw["digest"])}
    return record_from_json(whole | {name: value for name, value in raw.items() if name != "without"})


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    case = json.loads(path.read_text())
    provider = "local" if case["recovery"] == "local" else "memory"
    can = Capabilities(
        provider=provider,
        kinds={"sampling": Kind(fields=frozenset())},
        default_kind="sampling",
        recovery={"": Recovery(case["recovery"])},
    )
    records = Records(project="p", experiment="exp")
    for raw in case["records"]:
        records.put(record(raw, provider))
    given_policy = case["policy"]
    policy = Policy(
        submit=given_policy.get("submit", True),
        superseded=given_policy.get("superseded"),
        new_site=given_policy.get("new_site", False),
        not_sent_elsewhere=given_policy.get("not_sent_elsewhere", True),
        only=frozenset(given_policy["only"]) if "only" in given_policy else None,
        once_more=frozenset(given_policy.get("once_more", ())),
        refused={(key, "d1"): words for key, words in given_policy.get("refused", {}).items()},
    )

    pairs = match([job(raw, provider) for raw in case["jobs"]], records)
    missing = {raw["key"] for raw in case["jobs"] if raw.get("missing")}
    steps = [decide(replace(p, missing=p.key in missing), can, policy, case["now"]) for p in pairs]

    told = [
        [step.pair.key, str(step.action), step.reason, step.attempt]
        + ([step.not_before] if step.not_before is not None else [])
        for step in steps
    ]
    assert told == case["expect"]


def submit(key: str, **conduct: Any) -> Step:
    wanted = job({"key": key, "digest": f"d-{key}", "shots": 10}, "memory")
    wanted = replace(wanted, conduct=Conduct(**conduct))
    return Step(pair=Pair(job=wanted, record=None), action=Action.SUBMIT, reason="new", attempt=1)


def keys(rounds: Any) -> list[list[list[str]]]:
    return [[[step.pair.key for step in group] for group in r.groups] for r in rounds]


def test_rounds_follow_needs_and_groups_follow_submit_with() -> None:
    steps = [
        submit("c", needs=("b",)),
        submit("a", together="x"),
        submit("b", needs=("a",)),
        submit("d", together="x"),
        submit("e"),
    ]

    assert keys(arrange(steps)) == [[["a", "d"], ["e"]], [["b"]], [["c"]]]


def test_a_submission_holds_as_many_members_as_pack_says() -> None:
    steps = [submit(f"a{i}", together="x", pack=2) for i in range(5)]

    assert keys(arrange(steps)) == [[["a0", "a1"], ["a2", "a3"], ["a4"]]]


def test_a_long_chain_of_needs_is_arranged() -> None:
    steps = [submit(f"j{i}", needs=(f"j{i - 1}",) if i else ()) for i in reversed(range(5000))]

    assert len(arrange(steps)) == 5000


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ({"a": Phase.SUCCEEDED, "b": Phase.SUCCEEDED}, (Need.MET, "")),
        ({"a": Phase.SUCCEEDED, "b": Phase.LIVE}, (Need.WAITING, 'waits for "b"')),
        ({"a": Phase.LIVE, "b": Phase.FAILED}, (Need.BROKEN, 'needs "b", which is failed')),
        ({"a": Phase.LIVE, "b": None}, (Need.BROKEN, 'needs "b", which is held')),
        ({"a": Phase.LIVE, "b": Phase.UNCERTAIN}, (Need.BROKEN, 'needs "b", which is uncertain')),
    ],
)
def test_what_a_job_needs(phases: dict[str, Phase | None], expected: tuple[Need, str]) -> None:
    wanted = replace(job({"key": "c", "digest": "d"}, "memory"), conduct=Conduct(needs=("a", "b")))

    assert need(wanted, phases) == expected


def test_of_two_budgets_the_smaller_wins_limit_by_limit() -> None:
    ours, theirs = Budget(max_jobs=5, max_shots=100), Budget(max_jobs=9, total_jobs=50, allow_unknown_cost=True)

    assert ours.smaller(theirs) == Budget(max_jobs=5, max_shots=100, total_jobs=50)


def test_a_total_counts_what_was_sent_before() -> None:
    problems = over_budget([submit("a")], Budget(total_jobs=3, total_shots=25), spent=(3, 20))

    assert [p.message for p in problems] == [
        "4 jobs in all, but budget.total_jobs is 3",
        "30 shots in all, but budget.total_shots is 25",
    ]


def test_an_unknown_cost_exceeds_a_cost_budget_unless_allowed() -> None:
    refused = over_budget([submit("a")], Budget(max_cost=1.0))
    allowed = over_budget([submit("a")], Budget(max_cost=1.0, allow_unknown_cost=True))

    assert [str(p) for p in refused] == [
        "the cost of 1 jobs is unknown, and a cost budget is set; set allow_unknown_cost"
    ]
    assert allowed == []


attempts = st.lists(
    st.builds(
        Attempt,
        n=st.integers(1, 3),
        marker=st.just("qr1x"),
        phase=st.sampled_from([Phase.INTENT, Phase.UNCERTAIN, Phase.LIVE, Phase.SUCCEEDED]),
        handle=st.none(),
    ),
    max_size=3,
    unique_by=lambda a: a.n,
).map(lambda many: tuple(sorted(many, key=lambda a: a.n)))


@given(attempts, attempts)
def test_two_views_of_a_record_make_one_whatever_the_order(one: Any, two: Any) -> None:
    def of(many: tuple[Attempt, ...]) -> Record:
        return Record(key="a", digest="d", digest_without_site="d", provider="m", device="q", attempts=many)

    assert union(of(one), of(two)).attempts == union(of(two), of(one)).attempts
    assert union(of(one), of(one)).attempts == one


def test_two_handles_for_one_attempt_stop() -> None:
    def of(handle: str) -> Record:
        told = Attempt(n=1, marker="qr1x", phase=Phase.LIVE, handle=Handle(handle))
        return Record(key="a", digest="d", digest_without_site="d", provider="m", device="q", attempts=(told,))

    with pytest.raises(StoreError, match='"a" attempt 1 is told by two handles, "x" and "y"'):
        union(of("x"), of("y"))
