"""The two marks by which a provider finds again what was sent (DESIGN §4)."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Iterable
from typing import Any

from qrun.canonical import canonical
from qrun.record import Member


def marker(project: str, experiment: str, members: Iterable[Member]) -> str:
    """`qr1` and 26 base32 characters: one submission, the same for whoever would send it (DESIGN §4)."""
    listed = sorted([m.key, m.digest, m.attempt] for m in members)
    return "qr1" + _short([project, experiment, listed])


def mark(project: str, experiment: str) -> str:
    """`qrx` and 26 base32 characters: all submissions of one experiment."""
    return "qrx" + _short([project, experiment])


def _short(value: Any) -> str:
    return b32encode(hashlib.sha256(canonical(value)).digest()).decode().lower()[:26]
