"""What only the user decides."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from qrun.errors import Problem
from qrun.settings.file import File
from qrun.settings.places import expanded
from qrun.settings.words import show


class Users:
    """From the own file and, above it, the environment. `problems` is what is wrong with either's values."""

    def __init__(self, own: File | None, environ: Mapping[str, str]) -> None:
        self.table: Mapping[str, Any] = own.table if own is not None else {}
        self.environ = environ
        self.problems: list[Problem] = []
        self.journal = self._journal(own)
        self.publish = self._publish()
        self.trusted_hosts = self._hosts()

    def _journal(self, own: File | None) -> str | None:
        given = self.environ.get("QRUN_JOURNAL") or self.table.get("journal")
        if not isinstance(given, str):
            return None
        path = expanded(given, self.environ)
        if os.path.isabs(path):
            return path
        message, hint = f"{show(given)} is not an absolute path", "begin it with / or ~/"
        if self.environ.get("QRUN_JOURNAL"):
            self.problems.append(Problem(field="QRUN_JOURNAL", message=message, hint=hint))
        elif own is not None:
            self.problems.append(own.problem(("journal",), message, hint))
        return None

    def _publish(self) -> tuple[str, ...] | None:
        given = self.environ.get("QRUN_PUBLISH")
        if not given:
            listed = self.table.get("publish")
            return tuple(map(str, listed)) if isinstance(listed, list) else None
        import shlex

        try:
            return tuple(shlex.split(given)) or None
        except ValueError as error:
            message = f"is not a command: {str(error).lower()}"
            self.problems.append(Problem(field="QRUN_PUBLISH", message=message, hint="quote it as a shell would"))
            return None

    def _hosts(self) -> frozenset[str]:
        listed = self.table.get("trusted_hosts", [])
        named = re.split(r"[,\s]+", self.environ.get("QRUN_TRUSTED_HOSTS", ""))
        some = [host for host in listed if isinstance(host, str)] if isinstance(listed, list) else []
        return frozenset(host.lower() for host in (*named, *some) if host)
