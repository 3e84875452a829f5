"""The fixtures of this folder: an account of the stand-in, the clients that use it, and what a test said it calls."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.emulator_pasqal import Cloud, stand_in
from tests.official.surface import codes, watched


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "runs(methods): what the test calls of the official client")


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
    for name in ("PASQAL_PULSER_ACCESS_TOKEN", "PASQAL_SKIP_SSL_VERIFY", "PASQAL_SKIP_GZIP_REQUEST_BODY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def whole() -> Iterator[Cloud]:
    """The stand-in that all tests of this folder use."""
    pytest.importorskip("pasqal_cloud", reason="the official client is not installed")
    with stand_in("--seed", "7") as cloud:
        yield cloud


@pytest.fixture
def cloud(whole: Cloud) -> Iterator[Cloud]:
    """The client looks at a status at once and then after two seconds; here its first look comes late enough."""
    account = whole.new_account()
    account.faults("GET /api/v1/*/status: latency=0.6", "GET /api/v1/third-party-access/*/status: latency=0.6")
    yield account
    account.close()


@pytest.fixture
def slow(whole: Cloud) -> Iterator[Cloud]:
    """An account whose batches never leave the queue by themselves."""
    account = whole.new_account(queue_delay=3600.0)
    yield account
    account.close()


@pytest.fixture
def client(cloud: Cloud) -> Any:
    return connected(cloud)


@pytest.fixture
def waiting(slow: Cloud) -> Any:
    """The client of the slow account."""
    return connected(slow)


def where(account: Cloud) -> dict[str, Any]:
    """What every client of the package is told about where the cloud is."""
    endpoints = import_module("pasqal_cloud.endpoints")
    usual = endpoints.TokenProviderConf.from_region("fr")
    return {
        "endpoints": endpoints.Endpoints(core=account.core, account=f"{account.url}/account"),
        "auth_config": endpoints.TokenProviderConf(**(vars(usual) | {"token_endpoint": account.token_url})),
    }


def connected(account: Cloud) -> Any:
    return import_module("pasqal_cloud.pasqal_cloud_client").PasqalCloudClient(
        username=account.username, password=account.token, project_id=account.project, **where(account)
    )
