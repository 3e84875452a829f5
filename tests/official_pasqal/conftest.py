"""The fixtures of this folder: an account of the stand-in, the clients that use it, and what a test said it calls."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulator import until
from tests.emulator_pasqal import Cloud, stand_in
from tests.official.surface import Code, codes, watched

MOMENT: Final = 0.02  # seconds
DOWN: Final = "FRESNEL_SA1"  # takes batches and never begins them


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "runs(methods): what the test calls of the official client")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that says what it calls is held to it."""
    wanted = promised(item)
    if not wanted:
        return (yield)
    with watched() as called:
        yield
    assert not wanted - called, f"promised and not called: {wanted - called}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Nor is it left out, or expected to fail, for whatever reason."""
    report = yield
    if report.skipped and promised(item):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: left out, and with it what it promised to call"
    return report


def promised(item: pytest.Item) -> set[Code]:
    return codes(method for mark in item.iter_markers("runs") for method in mark.args)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without settings of any kind."""
    for name in ("PASQAL_PULSER_ACCESS_TOKEN", "PASQAL_SKIP_SSL_VERIFY", "PASQAL_SKIP_GZIP_REQUEST_BODY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the client wanted to wait each time. It asks Python's own clock, which is quick here; the client itself
    is left as it is.
    """
    asked: list[float] = []
    sleep = time.sleep

    def briefly(seconds: float) -> None:
        asked.append(seconds)
        sleep(min(seconds, MOMENT))

    monkeypatch.setattr(time, "sleep", briefly)
    return asked


@pytest.fixture(scope="session")
def whole() -> Iterator[Cloud]:
    """The stand-in that all tests of this folder use."""
    pytest.importorskip("pasqal_cloud", reason="the official client is not installed")
    with stand_in("--seed", "7", "--workers", "1") as cloud:  # its jobs are small, and each worker reads Pulser first
        yield cloud


@pytest.fixture
def cloud(whole: Cloud) -> Iterator[Cloud]:
    account = whole.new_account()
    yield account
    until(lambda: not computes(account))  # else the worker ends with the account, and another reads Pulser anew
    account.close()


def computes(account: Cloud) -> bool:
    """Whether a job runs, or waits for the one before it."""
    jobs = [job for batch in account.books()["batches"] if batch["device_type"] != DOWN for job in batch["jobs"]]
    return any(job["status"] in ("PENDING", "RUNNING") for job in jobs)


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


def by_pulser(account: Cloud) -> Any:
    """What Pulser's remote backends are given."""
    return import_module("pasqal_cloud").PasqalCloudConnection(
        username=account.username, password=account.token, project_id=account.project, **where(account)
    )


def by_ovh(account: Cloud) -> Any:
    """With a token that somebody else got."""
    token = type(
        "Ready", (import_module("pasqal_cloud.authentication").TokenProvider,), {"get_token": lambda _: account.token}
    )
    kind = import_module("pasqal_cloud.ovh").OvhClient
    return import_module("pasqal_cloud.pasqal_cloud_client").PasqalCloudClient(
        token_provider=token(), client_class=kind, endpoints=where(account)["endpoints"]
    )
