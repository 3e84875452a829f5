"""What is wrong with thousands of jobs is told as fast as it is with one: each program is read once."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest

from qrun.job import Job, Program, Target
from qrun.providers.pasqal.flaws import flaws

SEQUENCE = {
    "version": "1",
    "name": "one",
    "register": [{"name": "q0", "x": 0, "y": 0}],
    "channels": {},
    "variables": {"omega": {"type": "float", "value": [0.0]}},
    "operations": [],
    "measurement": "ground-rydberg",
    "device": "MockDevice",
}
JOB = Job(
    experiment="exp",
    key="a",
    target=Target(connection="atoms", provider="pasqal", device="EMU_FREE"),
    kind="pulse",
    digest="d",
    digest_without_site="d",
    shots=10,
    params={"omega": 1.0},
)


@pytest.mark.parametrize(("ending", "told"), [(b"", set()), (b"}", {"the program is not JSON: extra data"})])
def test_programs_that_jobs_name_in_turn_are_read_once_each(ending: bytes, told: set[str]) -> None:
    texts = [json.dumps({**SEQUENCE, "name": f"{ending!r}{number}"}).encode() + ending for number in range(50)]
    programs = [Program(path=f"{n}.json", sha256=sha256(t).hexdigest(), size=len(t)) for n, t in enumerate(texts)]
    asked: Counter[str] = Counter()

    def content(program: Program) -> bytes:
        asked[program.path] += 1
        return texts[int(program.path.removesuffix(".json"))]

    found = [
        flaw for _ in range(3) for program in programs for flaw in flaws(replace(JOB, programs=(program,)), content)
    ]

    assert {flaw.message for flaw in found} == told
    assert set(asked.values()) == {1}
