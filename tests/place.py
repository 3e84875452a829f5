"""A project folder and a user's home, for tests of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from qrun.errors import SettingsError
from qrun.settings import Settings, settings


class Place:
    """A project folder and a user's home that tests fill."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.home = folder / "home"
        self.specs = self.root / "specs"
        self.specs.mkdir(parents=True)
        self.own = self.home / ".config/qrun/config.toml"
        self.own.parent.mkdir(parents=True)

    def project(self, text: str) -> None:
        (self.root / "qrun.toml").write_text(text)

    def user(self, text: str, mode: int = 0o600) -> None:
        self.own.write_text(text)
        self.own.chmod(mode)

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """A file in the home folder."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def read(self, **environ: str) -> Settings:
        return settings(str(self.specs), {"HOME": str(self.home), **environ})

    def problems(self, **environ: str) -> list[str]:
        with pytest.raises(SettingsError) as error:
            self.read(**environ)
        return [str(problem) for problem in error.value.problems]
