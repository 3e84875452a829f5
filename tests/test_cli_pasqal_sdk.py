"""docs/pasqal-sdk.md: every public operation of the official client has its row, and what stands beside it exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest

from qrun.cli import cli

PAGE: Final = Path(__file__).parent.parent / "docs" / "pasqal-sdk.md"
ROW: Final = re.compile(r"^\| (`.*?) \| (.*) \|$", re.MULTILINE)
QUOTED: Final = re.compile(r"`([^`]+)`")


def rows() -> list[tuple[list[str], str]]:
    """The operations of each row, and what to do instead."""
    found = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return [(QUOTED.findall(operations), instead) for operations, instead in found]


def typed() -> Iterator[list[str]]:
    for _, instead in rows():
        yield from (shlex.split(words)[1:] for words in QUOTED.findall(instead) if words.startswith("qrun "))


def test_every_public_operation_of_the_client_has_one_row() -> None:
    pytest.importorskip("pasqal_cloud", reason="the official client is not installed")
    from tests.official_pasqal.surface import offered

    named = [operation for operations, _ in rows() for operation in operations]

    public = {name.partition(":")[2].removesuffix(" =") for name in offered()}
    assert set(named) == {name for name in public if not name.endswith(".__init__")}
    assert len(named) == len(set(named)) > 100


@pytest.mark.parametrize("words", list(typed()), ids=shlex.join)
def test_what_takes_its_place_is_a_command_with_these_options(words: list[str]) -> None:
    command = cli.get_command(click.Context(cli), words[0])

    assert command is not None
    known = {name for option in command.params if isinstance(option, click.Option) for name in known_as(option)}
    assert {word for word in words if word.startswith("-")} <= known


def known_as(option: click.Option) -> list[str]:
    return [*option.opts, *option.secondary_opts]


def test_every_row_says_what_to_do() -> None:
    assert all(operations and instead.strip() for operations, instead in rows())
