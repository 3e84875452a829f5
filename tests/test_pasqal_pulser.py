"""What Pulser, where it is installed, finds wrong with a sequence before it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qrun.job import Job
from qrun.providers.pasqal import limits
from tests.pasqal import FRESNEL, job, sequence, submission

pytest.importorskip("pulser")


def told(asked: Job, specs: Any = FRESNEL) -> list[str]:
    sent = submission(asked)
    return [str(problem) for _, problem in limits.beyond(sent.jobs, sent.programs, specs)]


def lasting(duration: int) -> str:
    whole = json.loads(sequence())
    for name in ("amplitude", "detuning"):
        whole["operations"][0][name]["duration"] = duration
    return json.dumps(whole)


def test_a_sequence_that_fits_is_left_alone() -> None:
    assert told(job()) == []
    assert told(job(), None) == []


def test_a_sequence_that_lasts_too_long_is_told_with_both_times() -> None:
    words = "job.program: it lasts 5000 ns with these params, and EMU_FREE takes 4000 ns"

    assert told(job(program=lasting(5000))) == [f"programs/x.json: {words}"]


def test_what_pulser_refuses_is_told_in_its_words() -> None:
    (words,) = told(job(params={"omega": -1.0}))

    assert "programs/x.json: job.program: Pulser refuses the sequence: " in words
    assert "amplitude" in words.lower()


def test_what_is_no_sequence_to_pulser_is_told_and_raises_nothing() -> None:
    (words,) = told(job(program=sequence(operations=[{"op": "unheard of"}])))

    assert "Pulser refuses the sequence: " in words
    assert "the Pulser that is installed here may be too old for it" in words


def test_many_sets_of_parameters_are_looked_at_with_one_reading_of_the_sequence() -> None:
    jobs = [job(str(at), params={"omega": at / 10}) for at in range(100)]
    sent = submission(*jobs)
    limits._loaded.cache_clear()  # noqa: SLF001 - what is counted here

    assert list(limits.beyond(sent.jobs, sent.programs, FRESNEL)) == []

    assert limits._loaded.cache_info().misses == 1  # noqa: SLF001
