"""That every public method of the official client is called by a test in this folder."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import pytest

import tests.official_pasqal
from tests.official.surface import Code, codes
from tests.official_pasqal.surface import offered

pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

NOT_RUN: Final = {
    "pasqal_cloud.authentication:TokenProvider.get_token": "abstract: its subclasses answer",
    "pasqal_cloud.authentication:Auth0TokenProvider.__init__": "logs in by https alone, which the stand-in lacks",
    "pasqal_cloud.authentication:InsecureAuth0TokenProvider.__init__": "the same",
}


def test_every_public_method_is_called_by_a_test() -> None:
    surface = offered()
    named = {code for module in _modules() for code in _named(module)}

    missing = {name for name, code in surface.items() if code not in named}

    assert missing == set(NOT_RUN)
    assert len(surface) > 120


def test_the_client_is_the_version_that_the_contract_describes() -> None:
    assert importlib.import_module("pasqal_cloud._version").__version__ == "0.24.0"


def _modules() -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(tests.official_pasqal.__path__, "tests.official_pasqal."):
        if module.name.rpartition(".")[2].startswith("test_"):
            yield importlib.import_module(module.name)


def _named(module: ModuleType) -> Iterator[Code]:
    for test in vars(module).values():
        for mark in getattr(test, "pytestmark", ()) if callable(test) else ():
            if mark.name == "runs":
                yield from codes(mark.args)
