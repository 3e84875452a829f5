"""That every public method of the official clients is called by a test in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import pytest

import tests.official
from tests.official.surface import Code, codes, offered, runs, watched

pytest.importorskip("quri_parts_oqtopus", reason="the official clients are not installed")

PLUMBING: Final = {
    "oqtopus_client.rest.api_client": "what the generated calls are made with; it is under each of them",
    "oqtopus_client.rest.api_response": "a value without methods of its own",
    "oqtopus_client.rest.configuration": "settings of the generated client, set by OqtopusClient alone",
    "oqtopus_client.rest.exceptions": "raised, not called; they reach users as UserApiError",
    "oqtopus_client.rest.rest": "the transport under the generated calls",
}
NOT_RUN: Final = {
    "quri_parts_oqtopus.models.base:OqtopusModelBase.refresh": "abstract: its subclasses answer",
    "quri_parts_oqtopus.models.base:OqtopusModelBase.to_json": "abstract: its subclasses answer",
    "quri_parts_oqtopus.models.jobs.base:OqtopusJobBase.result": "abstract: its subclasses answer",
}


def test_every_public_method_is_called_by_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OQTOPUS_URL", "http://127.0.0.1:9")  # the sampler reads its settings when it is imported
    monkeypatch.setenv("OQTOPUS_API_TOKEN", "nobody.nothing")
    surface = offered(left_out=PLUMBING.__contains__)
    named = {code for module in _modules() for code in _named(module)}

    missing = {name for name, code in surface.items() if code not in named}

    assert missing == set(NOT_RUN)
    assert len(surface) > 400


def test_a_call_that_a_test_promises_and_does_not_make_is_noticed() -> None:
    with watched() as called:
        sorted([])

    assert codes([_modules]).isdisjoint(called)


@runs(runs)
def test_a_call_that_a_test_makes_is_seen() -> None:
    with watched() as called:
        runs(_modules)

    assert codes([runs]) <= called
    runs(_modules)


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(tests.official.__path__, "tests.official."):
        if module.name.rpartition(".")[2].startswith("test_"):
            yield importlib.import_module(module.name)


def _named(module: ModuleType) -> Iterator[Code]:
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", ()) if callable(test) else ():
            if mark.name == "runs":
                yield from codes(mark.args)
