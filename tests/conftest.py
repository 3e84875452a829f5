"""What holds for every test: nothing that another one revealed is known, and Ctrl-C reaches the commands.

And where most tests of commands are played.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qrun import redact

if TYPE_CHECKING:
    from tests.desk import Desk


@pytest.fixture(autouse=True)
def _nothing_revealed() -> None:
    redact.forget()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is here and home, without settings of the user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


@pytest.fixture
def desk(home: Path) -> Desk:
    """A project in it, and somebody who types commands there."""
    from tests.desk import Desk

    return Desk(home)


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore these, and so would the commands of the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
