"""What holds for every test: nothing that another one revealed is known, and Ctrl-C reaches the commands."""

from __future__ import annotations

import signal

import pytest

from qrun import redact


@pytest.fixture(autouse=True)
def _nothing_revealed() -> None:
    redact.forget()


def pytest_configure() -> None:
    """A shell lets what it starts in the background ignore these, and so would the commands of the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGQUIT) is signal.SIG_IGN:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
