"""A changed job whose old run is cancelled first is sent all the same: it is asked about, counted, and locked out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cloud import Cloud
from tests.desk import PROJECT, Desk, sky


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """Its jobs wait until they are cancelled."""
    with sky(words=lambda run: "QUEUED") as cloud:
        yield cloud


def manifest(desk: Desk, shots: int) -> None:
    job = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": shots}
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": {"a": job}}))


def replaced(desk: Desk) -> None:
    manifest(desk, 100)
    desk.run("apply", "--yes", "--no-wait")
    manifest(desk, 200)


def cancelled(cloud: Cloud) -> list[str]:
    return [run.id for run in cloud.runs if run.cancelled]


def test_without_a_terminal_a_replacement_needs_yes(desk: Desk, cloud: Cloud) -> None:
    replaced(desk)

    answer = desk.run("apply", "--prune", "--no-wait")

    assert (answer.code, len(cloud.made()), cancelled(cloud)) == (64, 1, [])
    assert 'would send 1 job with 200 shots to "memory/qpu"' in answer.err


def test_locked_sends_no_replacement_and_cancels_nothing_for_it(desk: Desk, cloud: Cloud) -> None:
    replaced(desk)

    answer = desk.run("apply", "--prune", "--yes", "--no-wait", "--locked")

    assert (answer.code, len(cloud.made()), cancelled(cloud)) == (3, 1, [])


def test_a_replacement_counts_against_the_budget(desk: Desk, cloud: Cloud) -> None:
    replaced(desk)
    desk.write("qrun.toml", f'project = "{PROJECT}"\n[budget]\nmax_shots = 150\n')

    answer = desk.run("apply", "--prune", "--yes", "--no-wait")

    assert (answer.code, len(cloud.made()), cancelled(cloud)) == (7, 1, [])
