"""Every command that is about jobs tells which of their batches are still open, as words and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator_pasqal import Cloud, shared
from tests.test_cli_pasqal import DOWN, Lab, batches, handles, made


@pytest.fixture
def account() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def lab(home: Path, account: Cloud) -> Lab:
    """One open batch: `a` succeeded there and `bad` failed."""
    lab = Lab(home, account)
    jobs = {"a": {"params": {"omega": 0.25}}, "bad": {"params": {"omega": -1.0}}}
    lab.manifest("exp", jobs, submit={"open": True})
    lab.type("apply", "--yes")
    return lab


@pytest.mark.parametrize(
    "words",
    [
        ("apply", "--yes"),
        ("plan",),
        ("status",),
        ("sync",),
        ("show", "exp.a"),
        ("retry", "--failed", "--yes"),
        ("resolve", "exp.bad", "--accept"),
    ],
    ids=lambda words: words[0],
)
def test_a_command_tells_the_open_batch_of_its_jobs(lab: Lab, account: Cloud, words: tuple[str, ...]) -> None:
    (batch,) = batches(account)

    told = lab.type(*words)
    whole = lab.type(*words, "-o", "json") if words[0] != "resolve" else told

    line = f"batch {batch['id']} on person is open (2 jobs): qrun close exp.a\n"
    assert told.err.endswith(line)
    if whole is not told:
        entry = whole.json if words[0] == "show" else whole.json["experiments"][0]
        assert entry["open"] == [{"connection": "person", "container": batch["id"], "jobs": ["a", "bad"]}]


def test_a_cancel_tells_the_batch_that_stays_open(lab: Lab, account: Cloud) -> None:
    jobs = {name: {"params": {"omega": 0.25}} for name in "xy"}
    lab.manifest("slow", jobs, submit={"open": True}, device=DOWN)
    lab.type("apply", "specs/slow.yaml", "--yes", "--no-wait")
    _, batch = batches(account)

    one, whole = lab.type("cancel", "slow.x"), lab.type("cancel", "slow.y", "-o", "json")

    line = f"batch {batch['id']} on person is open (2 jobs): qrun close slow.x\n"
    assert (one.code, one.out, one.err) == (0, "slow.x: cancelled\n", line)
    assert whole.json["experiments"][0]["open"][0]["container"] == batch["id"]


def test_an_import_and_a_copy_tell_it_too(lab: Lab, account: Cloud) -> None:
    batch = made(account, 0.25, open=True)
    (handle,) = handles(account, batch)

    first, again = (lab.type("import", "person", batch, "-o", "json") for _ in range(2))

    line = f"batch {batch} on person is open (1 job): qrun close import-person.{handle.split('/')[1]}\n"
    held = [{"connection": "person", "container": batch, "jobs": [handle.split("/")[1]]}]
    assert [each.json["experiments"][0]["open"] for each in (first, again)] == [held, held]
    assert lab.type("import", "person", handle).err == line


def test_what_is_up_to_date_is_said_where_only_imports_are_looked_at(lab: Lab, account: Cloud) -> None:
    (lab.folder / "specs" / "exp.yaml").unlink()
    batch = made(account, 0.25)
    lab.type("import", "person", batch)

    answer = lab.type("sync")
    whole = lab.type("sync", "-o", "json")

    assert (answer.code, answer.out) == (0, "nothing to do: no job waits\n")
    assert [entry["manifest"] for entry in whole.json["experiments"]] == [None]
