"""A secret that a program is asked for holds nothing else up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event

import pytest

from qrun import settings as package
from qrun.connection import Access
from qrun.errors import SettingsError
from tests.place import Place

WAITS = "until test -e go; do sleep 0.01; done; echo pw-0123456789"  # until the loop has come to its next step


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.chdir(made.root)
    return made


async def revealed_beside(place: Place, command: str) -> str:
    """What the command prints, which waits for a file that the loop writes only while it goes on."""
    place.user(f'[connections.own]\ntype = "pasqal"\npassword = {{ command = ["sh", "-c", "{command}"] }}\n')
    found = place.read()
    access = package.access(found, lambda _: None, {})
    told = asyncio.ensure_future(access.revealed(found.connections["own"].settings["password"]))
    await asyncio.sleep(0)
    (place.root / "go").touch()
    return await told


def test_a_command_that_takes_its_time_holds_nothing_up(place: Place) -> None:
    assert asyncio.run(revealed_beside(place, WAITS)) == "pw-0123456789"


def test_a_command_that_fails_is_told_as_it_is_elsewhere(place: Place) -> None:
    with pytest.raises(SettingsError, match='the command "sh" ended with code 3'):
        asyncio.run(revealed_beside(place, "exit 3"))


def test_what_takes_no_time_needs_no_thread() -> None:
    access = Access(reveal=str.upper)

    with pytest.raises(StopIteration) as done:
        access.revealed("abc").send(None)

    assert done.value.value == "ABC"


def test_who_gives_up_waits_for_no_answer() -> None:
    asked, gone, answers = Event(), Event(), []

    def ask(source: str) -> str:
        asked.set()
        answers.append(gone.wait(10))
        return source

    async def given_up() -> None:
        waiting = asyncio.ensure_future(Access(reveal=ask, slow=lambda _: True).revealed("abc"))
        await asyncio.to_thread(asked.wait)
        waiting.cancel()

    asyncio.run(given_up())
    assert answers == []
    gone.set()
