"""Devices, as their providers tell them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from qrun.provider import Device
from qrun.render.safe import safe, shown
from qrun.render.words import columns

HEADERS: Final = ("CONNECTION", "DEVICE", "STATUS", "QUBITS", "PENDING", "CALIBRATED")
CUT: Final = 400  # characters of one fact


def rows(found: Iterable[tuple[str, Device]]) -> list[tuple[str, ...]]:
    """Each device with its connection."""
    return [
        (
            safe(connection),
            safe(device.device),
            shown(device.status),
            _number(device.qubits),
            _number(device.pending),
            safe(device.calibrated_at or ""),
        )
        for connection, device in found
    ]


def text(device: Device) -> str:
    """All that is known of one device."""
    facts: dict[str, Any] = {
        "status": device.status,
        "qubits": device.qubits,
        "pending": device.pending,
        "calibrated": device.calibrated_at,
        **{name: value for name, value in device.facts.items() if name not in OWN},
    }
    listed = [(f"  {safe(name)}", _inline(value)) for name, value in facts.items() if value not in (None, "", [], {})]
    return "\n".join([safe(device.device), *columns(listed)])


def device_json(device: Device) -> dict[str, Any]:
    """One entry of `devices`: the fields that all providers share, and all facts of this one."""
    return {
        "device": device.device,
        "status": device.status,
        "qubits": device.qubits,
        "pending": device.pending,
        "calibrated_at": device.calibrated_at,
        **{name: value for name, value in device.facts.items() if name not in OWN},
    }


OWN: Final[Sequence[str]] = ("device", "status", "qubits", "pending", "calibrated_at")


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _inline(value: Any) -> str:
    plain = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown(plain if len(plain) <= CUT else plain[:CUT] + "…")
