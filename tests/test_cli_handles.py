"""A provider's id is never cut and never folded, since people copy it."""

from __future__ import annotations

import io
from typing import Final

import pytest

from qrun.render import live, table

HANDLE: Final = "2a948ad5-5f1c-4593-83e2-fd912c049326/0b8b1c5e-3a6e-4a52-9f5e-0d9b3c7f1a01"
ROW: Final = ("sweep.rabi:omega=0.25", "succeeded (DONE)", "fresnel/EMU_FREE", "200", "1", HANDLE, "")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 160, 200])
def test_a_handle_stays_in_one_piece_on_a_terminal_of_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()

    if not live.draw(terminal, table.HEADERS, [ROW]):
        terminal.write("\n".join(table.lines(table.HEADERS, [ROW])))

    assert HANDLE in terminal.getvalue()


def test_a_wide_terminal_gets_a_table_of_such_handles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")

    assert live.draw(Terminal(), table.HEADERS, [ROW])
