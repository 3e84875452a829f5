"""What holds for every test: nothing that another one revealed is known."""

from __future__ import annotations

import pytest

from qrun import redact


@pytest.fixture(autouse=True)
def _nothing_revealed() -> None:
    redact.forget()
