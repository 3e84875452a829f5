"""Every filter that Pasqal Cloud has for batches and jobs, as it is typed and as it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from qrun.cli.account import BEYOND
from qrun.provider import Filters
from qrun.providers.pasqal import CAPABILITIES
from tests import pasqal as wire
from tests.emulator_pasqal import Cloud, shared
from tests.test_cli_pasqal import DOWN, Lab, batches, handles, made


@pytest.fixture
def account() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def lab(home: Path, account: Cloud) -> Lab:
    return Lab(home, account)


# --- as they are sent -------------------------------------------------------------------------------------------------

SENT: Final[dict[str, tuple[Filters, str, list[tuple[str, str]]]]] = {
    "ids of jobs": (Filters(ids=("x1", "b/x2")), "GET jobs", [("id", "x1"), ("id", "x2")]),
    "batches of jobs": (Filters(within=("b1", "b2")), "GET jobs", [("batch_id", "b1"), ("batch_id", "b2")]),
    "projects": (Filters(projects=("p1", "p2")), "GET jobs", [("project_id", "p1"), ("project_id", "p2")]),
    "users": (Filters(users=("u1", "u2")), "GET jobs", [("user_id", "u1"), ("user_id", "u2")]),
    "statuses": (Filters(words=("DONE", "ERROR")), "GET jobs", [("status", "DONE"), ("status", "ERROR")]),
    "shots": (Filters(least=10, most=20), "GET jobs", [("min_runs", "10"), ("max_runs", "20")]),
    "errors": (Filters(errors=True), "GET jobs", [("errors", "true")]),
    "no errors": (Filters(errors=False), "GET jobs", [("errors", "false")]),
    "priorities": (
        Filters(priorities=("LOW", "FREE")),
        "GET batches",
        [("queue_priority", w) for w in ("LOW", "FREE")],
    ),
    "device": (Filters(device="EMU_MPS"), "GET batches", [("device_type", "EMU_MPS")]),
    "one tag of several": (Filters(tags=("a", "b")), "GET batches", [("tag", "a")]),
    "ids of batches": (Filters(containers=True, ids=("b1", "b2")), "GET batches", [("id", "b1"), ("id", "b2")]),
    "open": (Filters(containers=True, open=True), "GET batches", [("open", "true")]),
    "closed": (Filters(containers=True, open=False), "GET batches", [("open", "false")]),
    "statuses of batches": (Filters(containers=True, words=("DONE",)), "GET batches", [("status", "DONE")]),
    "users of batches": (Filters(containers=True, users=("u1",)), "GET batches", [("user_id", "u1")]),
}


@pytest.mark.parametrize("what", SENT)
def test_a_filter_reaches_the_service_in_its_own_words(what: str) -> None:
    filters, route, wanted = SENT[what]
    there, clock = wire.cloud()
    there.good_tokens.add("ready")

    async def ask() -> None:
        async for _ in wire.beside(there, token="ready").list(filters):
            pass

    clock.run(ask())

    [query] = [query for _, asked, query, _ in there.seen if asked == route]
    names = {name for name, _ in wanted}
    assert [pair for pair in query if pair[0] in names] == wanted
    assert ("project_id", wire.PROJECT) in query or filters.projects
    assert {name for name, _ in query} <= names | {"project_id", "limit", "offset", "order_by", "order_by_direction"}


def test_every_filter_that_can_be_typed_is_one_that_pasqal_knows() -> None:
    assert CAPABILITIES.filters == BEYOND


# --- as they are typed ------------------------------------------------------------------------------------------------


@pytest.fixture
def names(lab: Lab, account: Cloud) -> dict[str, str]:
    """What the account holds, by its handles."""
    first = made(account, 0.25, -1.0, tags=["night"])
    waits = made(account, 0.25, device_type=DOWN)
    opened = made(account, 0.5, open=True)
    listed = [*handles(account, first), *handles(account, waits), *handles(account, opened)]
    words = dict(zip(listed, ("done", "failed", "waits", "opened"), strict=True))
    return words | {first: "first", waits: "slow", opened: "held"}


def told(lab: Lab, names: dict[str, str], *words: str) -> list[str]:
    answer = lab.type("status", "--remote", "person", *words, "-o", "json")
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = answer.json.get("batches") or answer.json.get("jobs") or []
    return [names[each.get("container") or each["handle"]] for each in found]


def named(names: dict[str, str], name: str) -> str:
    return next(handle for handle, each in names.items() if each == name)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--batches"], ["held", "slow", "first"]),
        (["--open"], ["held"]),
        (["--closed"], ["slow", "first"]),
        (["--batches", "--tag", "night"], ["first"]),
        (["--batches", "--device", DOWN], ["slow"]),
        (["--batches", "--status", "DONE", "--status", "RUNNING"], ["held", "first"]),
        (["--batches", "--since", "1h", "--limit", "1"], ["held"]),
        (["--batches", "--until", "2020-01-01"], []),
        (["--batches", "--kind", "workload"], []),
        (["--errors"], ["failed"]),
        (["--no-errors", "--status", "DONE"], ["opened", "done"]),
        (["--min-shots", "20", "--errors"], ["failed"]),
        (["--min-shots", "21"], []),
        (["--max-shots", "19"], []),
        (["--priority", "MEDIUM", "--tag", "night"], ["failed", "done"]),
        (["--priority", "HIGH"], []),
        (["--user", "nobody"], []),
        (["--project", "00000000-0000-0000-0000-000000000000"], []),
    ],
    ids=" ".join,
)
def test_what_is_listed_fits_every_filter(lab: Lab, names: dict[str, str], words: list[str], wanted: list[str]) -> None:
    assert told(lab, names, *words) == wanted


def test_a_job_and_a_batch_are_listed_by_their_ids(lab: Lab, names: dict[str, str]) -> None:
    handle, batch = named(names, "failed"), named(names, "first")

    assert told(lab, names, "--id", handle) == ["failed"]
    assert told(lab, names, "--id", handle.split("/")[1]) == ["failed"]
    assert told(lab, names, "--batch", batch) == ["failed", "done"]
    assert told(lab, names, "--batches", "--id", batch) == ["first"]


def test_an_open_batch_without_jobs_is_listed_and_can_be_ended(lab: Lab, account: Cloud) -> None:
    batch = account.create(jobs=[], open=True)["id"]

    listed = lab.type("status", "--remote", "person", "--open")
    ended = lab.type("cancel", "--remote", "person", "--open", "--yes")
    none = lab.type("status", "--remote", "person", "--open")

    assert listed.out.splitlines()[0].split() == ["ID", "STATUS", "DEVICE", "JOBS", "CREATED", "OPEN"]
    assert listed.out.splitlines()[1].split()[:4] == [batch, "PENDING", "EMU_FREE", "0"]
    assert (ended.code, ended.out) == (0, f"{batch}: cancelled\n")
    assert (none.code, none.out) == (0, "no batches\n")


def test_a_batch_stands_beside_the_jobs_of_this_project_that_are_in_it(lab: Lab, account: Cloud) -> None:
    jobs = {name: {"params": {"omega": 0.25}} for name in "abcde"}
    lab.manifest("exp", jobs, submit={"open": True})
    lab.type("apply", "--yes")
    (batch,) = batches(account)

    table, whole = (lab.type("status", "--remote", "person", "--open", *rest) for rest in ((), ("-o", "json")))

    assert table.out.splitlines()[1].endswith("open  exp.a exp.b exp.c and 2 more")
    [told] = whole.json["batches"]
    assert (told["container"], told["open"], told["size"]) == (batch["id"], True, 5)
    assert told["jobs"] == [f"exp.{name}" for name in "abcde"]


def test_a_job_in_an_open_batch_is_told_apart(lab: Lab, names: dict[str, str]) -> None:
    listed = lab.type("status", "--remote", "person")

    marked = {names[line.split()[0]] for line in listed.out.splitlines() if line.endswith("  open")}
    assert marked == {"opened"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--open"], "--open is about the jobs of an account; add --remote CONNECTION"),
        (["--batch", "x"], "--batch is about the jobs of an account; add --remote CONNECTION"),
        (
            ["--remote", "person", "--closed", "--errors"],
            "--errors is about jobs, and batches are asked for; leave one of both out",
        ),
        (
            ["--remote", "person", "--max-shots", "many"],
            'invalid value for "--max-shots": "many" is not a whole number',
        ),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_a_filter_out_of_place_is_refused(lab: Lab, words: list[str], told: str) -> None:
    answer = lab.type("status", *words)

    assert answer.code == 64
    assert answer.err.startswith(told)


def test_a_cloud_without_such_a_filter_says_so(lab: Lab) -> None:
    place = (
        '[connections.other]\ntype = "oqtopus"\nurl = "http://127.0.0.1:9"\napi_token = { env = "QRUN_TEST_TOKEN" }\n'
    )
    lab.write("qrun.toml", lab.read("qrun.toml") + place)

    one = lab.type("status", "--remote", "other", "--open")
    two = lab.type("cancel", "--remote", "other", "--priority", "LOW", "--user", "me", "--yes")

    words = '"other" is a connection of type "oqtopus", which has no'
    assert (one.code, one.err) == (
        64,
        f"{words} --open, --open; leave them out\n".replace("--open, --open; leave them", "--open; leave it"),
    )
    assert (two.code, two.err) == (64, f"{words} --priority, --user; leave them out\n")
