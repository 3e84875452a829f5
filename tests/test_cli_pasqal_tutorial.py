"""docs/tutorial-pasqal.md runs as it is read, on a stand-in that computes with Pulser.

Its blocks are marked `shell` and `yml` in place of `console` and `yaml`: it needs an extra that other pages do not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from tests.test_docs import ROOT, SHOWN, Command, agrees, blocks, run

PAGE: Final = ROOT / "docs" / "tutorial-pasqal.md"
BESIDE: Final = "```console beside\n"


def ordinary(folder: Path) -> Path:
    """The page with the marks of every other page."""
    text = PAGE.read_text(encoding="utf-8").replace("```shell beside\n", BESIDE)
    page = folder / "page.md"
    page.write_text(text.replace("```shell pulser\n", "```console\n").replace("```yml ", "```yaml "), encoding="utf-8")
    return page


@pytest.mark.slow
def test_each_example_of_the_tutorial_runs_and_prints_what_it_shows(tmp_path: Path) -> None:
    pytest.importorskip("pulser_simulation", reason="Pulser is not installed")

    found = run(ordinary(tmp_path), tmp_path)

    for command, printed, _ in found:
        assert agrees(command.printed, printed), f"{command.line}: $ {command.typed}\nprinted\n{printed}"
    assert unasked(found) == []


def unasked(found: list[tuple[Command, str, int]]) -> list[str]:
    """What failed, and whose exit code is not shown."""
    after = [command.typed for command, _, _ in found[1:]] + [""]
    return [c.typed for (c, _, code), follows in zip(found, after, strict=True) if code and follows != "echo $?"]


def test_every_block_of_the_tutorial_is_run(tmp_path: Path) -> None:
    languages = {block.language for block in blocks(ordinary(tmp_path)) if not block.path or block.beside}

    assert languages == {"console"}
    assert not languages & SHOWN
    assert len(re.findall(r"^\$ qrun ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)) > 15
