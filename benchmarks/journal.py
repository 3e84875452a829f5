"""What a durable fact costs: lines of the journal in groups, and one synced file a job."""

from __future__ import annotations

import os
import time
from pathlib import Path

from qrun.fact import Intended
from qrun.marks import marker
from qrun.record import Member
from qrun.store import Disk, Store
from qrun.store.journal import Journal

PROJECT = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"


def intent(key: str) -> Intended:
    member = Member(key=key, digest="ab" * 32, attempt=1, payload="cd" * 32)
    return Intended(
        marker=marker(PROJECT, "big", [member]),
        connection="local",
        step="create",
        members=(member,),
        jobs=({"provider": "local", "device": "ddsim", "kind": "sampling", "shots": 100},),
        digests_without_site=(member.digest,),
        sent="2026-01-01T00:00:00.000Z",
    )


def appended(folder: Path, *, jobs: int, group: int) -> float:
    """Microseconds a job for the journal alone: encode, seal, write, fdatasync."""
    folder.mkdir()
    facts = [intent(f"j{i:06}") for i in range(jobs)]
    journal = Journal(
        disk=Disk(str(folder)), path="journal.jsonl", project=PROJECT, experiment="big", run="r", command="bench"
    )
    journal.recover()
    started = time.perf_counter()
    for i in range(0, jobs, group):
        journal.append(facts[i : i + group], 0.0)
    return (time.perf_counter() - started) / jobs * 1e6


def noted(folder: Path, *, jobs: int, group: int) -> float:
    """Microseconds a job for the store's `note`: the journal, and the facts folded into the records."""
    folder.mkdir()
    facts = [intent(f"j{i:06}") for i in range(jobs)]
    with Store.open(str(folder), "big", project=PROJECT, manifest="big.yaml") as store:
        started = time.perf_counter()
        for i in range(0, jobs, group):
            store.note(*facts[i : i + group])
        return (time.perf_counter() - started) / jobs * 1e6


def durable_files(folder: Path, *, jobs: int) -> float:
    """Microseconds a job."""
    folder.mkdir()
    started = time.perf_counter()
    for i in range(jobs):
        file = os.open(folder / f"{i}.json", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.write(file, b"x" * 400)
        os.fsync(file)
        os.close(file)
    return (time.perf_counter() - started) / jobs * 1e6
