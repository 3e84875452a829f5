"""The fixtures of this folder: an account of the emulator, the clients that use it, and what a test said it calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.emulator import Emulator, shared
from tests.official.surface import codes, watched


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "runs(methods): what the test calls of the official clients")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that says what it calls is held to it."""
    promised = codes(method for mark in item.iter_markers("runs") for method in mark.args)
    if not promised:
        return (yield)
    with watched() as called:
        yield
    assert not promised - called, f"promised and not called: {promised - called}"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings of any kind."""
    for name in ("OQTOPUS_URL", "OQTOPUS_BASE_URL", "OQTOPUS_API_TOKEN", "OQTOPUS_PROXY", "OQTOPUS_ENV"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return folder


@pytest.fixture
def cloud() -> Iterator[Emulator]:
    """The clients drop form fields that they do not know, so this account's forms have none."""
    account = shared().new_account(trace=False)
    yield account
    account.close()


@pytest.fixture
def slow() -> Iterator[Emulator]:
    """An account whose jobs never leave the queue by themselves."""
    account = shared().new_account(trace=False, queue_delay=3600.0)
    yield account
    account.close()


@pytest.fixture
def client(cloud: Emulator) -> Any:
    return connected(cloud)


def connected(account: Emulator) -> Any:
    """The client of an account."""
    oqtopus = pytest.importorskip("oqtopus_client")
    return oqtopus.OqtopusClient(oqtopus.OqtopusConfig(account.url, account.token))
