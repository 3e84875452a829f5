"""`apply --locked` sends nothing, whatever becomes of the jobs while it waits for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qrun.plan import LOCKED, Policy
from tests.desk import Desk, sky
from tests.scene import Scene, job


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    fields = {"provider": "memory", "device": "qpu", "program": "programs/bell.qasm", "shots": 100}
    desk = Desk(tmp_path)
    desk.write("specs/exp.yaml", json.dumps({"name": "exp", "jobs": {"a": {**fields, "retry": {"attempts": 3}}}}))
    return desk


def test_a_job_that_fails_meanwhile_is_not_sent_again(desk: Desk) -> None:
    with sky(words=lambda run: "QUEUED") as cloud:
        desk.run("apply", "--yes", "--no-wait")
        cloud.words = lambda run: "ERROR"

        answer = desk.run("apply", "--locked")

    assert (answer.code, cloud.made()) == (3, ["j1"])
    assert f"exp.a  {LOCKED}\n" in answer.err


def test_a_job_that_is_proven_not_to_be_there_is_not_sent_again() -> None:
    scene = Scene(faults={"submit": ["request lost"]})
    scene.apply(job("a"), policy=Policy(wait=False))

    outcome = scene.apply(job("a"), policy=Policy(locked=True))

    assert (outcome.held, scene.cloud.made()) == ({"a": LOCKED}, [])
