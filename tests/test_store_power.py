"""The power is cut after every operation of the store; what was durable is there again, and work goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qrun.clock import Clock
from qrun.fact import Fact, Fetched, Intended, Noted, Reached, Renamed
from qrun.job import Program
from qrun.marks import marker
from qrun.record import Handle, Member, Output, Phase
from qrun.store import Store
from tests.disk import FakeDisk, copied, states

PROJECT = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"
PROGRAM = b"OPENQASM 2.0;\n"
SHA = "c9d9c1a2" * 8
DIGESTS = {"a": "a1" * 32, "b": "b2" * 32, "c": "c3" * 32}
RESULTS = {"bits": ["c[0]"], "counts": {"0": 1}, "shots": 1}


class SwiftClock(Clock):
    """An hour passes whenever somebody looks, so that a running command publishes whenever it may."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 3600
        return self.seconds


def opened(disk: FakeDisk, clock: Clock | None = None) -> Store:
    return Store.open(
        "/project", "sweep", project=PROJECT, manifest="specs/sweep.yaml", disk=disk, run="r1", clock=clock
    )


def intended(key: str, attempt: int = 1) -> Intended:
    member = Member(key=key, digest=DIGESTS[key], attempt=attempt, payload="f0" * 32)
    return Intended(
        marker=marker(PROJECT, "sweep", [member]),
        connection="cloud",
        step="create",
        members=(member,),
        jobs=({"provider": "oqtopus", "device": "qulacs", "kind": "sampling", "shots": 10},),
        digests_without_site=(DIGESTS[key],),
        sent="2026-01-01T00:00:00.000Z",
    )


def reached(key: str, phase: Phase, *, attempt: int = 1, name: str | None = None, **rest: Any) -> Reached:
    return Reached(
        key=name or key,
        digest=DIGESTS[key],
        attempt=attempt,
        phase=phase,
        marker=intended(key, attempt).marker,
        handle=None if phase in (Phase.ABSENT, Phase.UNCERTAIN) else Handle(f"id-{key}{attempt}"),
        connection="cloud",
        **rest,
    )


def fetched(key: str, output: Output, *, name: str | None = None) -> Fetched:
    small = Output(name="results.json", sha256="d4" * 32, size=57)
    return Fetched(key=name or key, digest=DIGESTS[key], attempt=1, outputs=(output, small), results=RESULTS)


class Script:
    """A run of three jobs; after each fact `durable` grows by the handles that must never be lost again."""

    def __init__(self, disk: FakeDisk) -> None:
        self.disk = disk
        self.durable: list[tuple[int, str, str]] = []  # operations done, key, handle
        self.intents: list[tuple[int, str]] = []
        self.kept: list[tuple[int, str, bytes]] = []  # operations done, path, content

    def note(self, store: Store, *facts: Fact) -> None:
        store.note(*facts)
        done = len(self.disk.log)
        for fact in facts:
            if isinstance(fact, Reached) and fact.handle is not None:
                self.durable.append((done, fact.digest, fact.handle))
            if isinstance(fact, Intended):
                self.intents += [(done, member.digest) for member in fact.members]

    def keep(self, store: Store, key: str, name: str, data: bytes) -> Output:
        output = store.keep_output(key, DIGESTS[name], 1, "result.json", data)
        record = f"{store.record_file(key, DIGESTS[name])}".removesuffix("record.json")
        self.kept.append((len(self.disk.log), record + output.name, data))
        return output

    def first_run(self) -> None:
        with opened(self.disk, SwiftClock()) as store:
            store.keep_program(Program(path="p.qasm", sha256=SHA, size=len(PROGRAM)), PROGRAM)
            self.note(store, intended("a"), intended("b"))
            self.note(store, Noted(marker=intended("a").marker, facts={"job_id": "x1"}))
            self.note(store, reached("a", Phase.LIVE))
            self.note(store, reached("b", Phase.LIVE), intended("c"))
            store.publish(rest=False)
            self.note(store, reached("c", Phase.UNCERTAIN, message="the answer was lost"))
            output = self.keep(store, "a", "a", b'{"raw": 1}')
            self.note(store, reached("a", Phase.SUCCEEDED, provided={"seed": 7}), fetched("a", output))
            self.note(store, reached("b", Phase.FAILED, message="no luck"))
            store.publish(rest=True)

    def second_run(self) -> None:
        with opened(self.disk, SwiftClock()) as store:
            self.note(store, Renamed(old="a", key="z", digest=DIGESTS["a"]))
            self.note(store, reached("c", Phase.LIVE, found="marker"), intended("b", 2))
            self.note(store, reached("b", Phase.ABSENT, attempt=2))
            self.note(store, intended("b", 2))
            self.note(store, reached("b", Phase.LIVE, attempt=2))
            output = self.keep(store, "c", "c", b'{"raw": 3}')
            self.note(store, reached("c", Phase.SUCCEEDED), fetched("c", output))
            self.note(store, reached("b", Phase.CANCELLED, attempt=2))
            store.publish(rest=True)


def known(store: Any) -> set[tuple[str, str]]:
    return {(r.digest, a.handle) for r in store.records for a in r.attempts if a.handle is not None}


def check(script: Script, done: int, disk: FakeDisk) -> None:
    due = {(digest, handle) for at, digest, handle in script.durable if at <= done}
    with opened(disk) as store:
        assert due <= known(store)
        attempts = {r.digest: len(r.attempts) for r in store.records}
        for at, digest in script.intents:
            if at <= done and not any(d == digest and a > at for a, d, _ in script.durable):
                assert attempts.get(digest, 0) >= 1 or digest == DIGESTS["b"]
        store.publish(rest=True)
    files = disk.files()
    for at, path, data in script.kept:
        if at <= done:
            moved = path.replace("results/sweep/a/", "results/sweep/z/")
            assert data in (files.get(path), files.get(moved))
    with opened(disk) as store:
        assert due <= known(store)
        store.publish(rest=True)
    assert without_mutex(disk.files()) == without_mutex(files)


def without_mutex(files: dict[str, bytes]) -> dict[str, bytes]:
    return {path: data for path, data in files.items() if not path.endswith("/mutex")}


def swept(runs: Callable[[Script], None]) -> int:
    script = Script(FakeDisk())
    runs(script)
    count = 0
    for done, disk in states(script.disk.log):
        check(script, done, disk)
        count += 1
    return count


def both(script: Script) -> None:
    script.first_run()
    script.second_run()


@pytest.mark.slow
def test_whenever_the_power_is_cut_no_handle_is_lost_and_the_next_run_goes_on() -> None:
    assert swept(both) >= 10_000


@pytest.mark.slow
def test_a_second_cut_while_the_first_is_being_recovered_loses_nothing_either() -> None:
    script = Script(FakeDisk())
    both(script)
    count = 0
    for number, (done, disk) in enumerate(states(script.disk.log)):
        if number % 997:
            continue
        before = copied(disk)
        with opened(disk) as store:
            store.publish(rest=True)
        for _, again in states(disk.log, start=before):
            check(script, done, again)
            count += 1

    assert count >= 1_000
