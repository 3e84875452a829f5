"""The devices of the OQTOPUS stand-in, and how its cloud shows them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from qrun.emulators.oqtopus.shown import at
from qrun.emulators.packing import packed

GATES: Final = ("x", "y", "z", "h", "s", "sdg", "t", "tdg", "rx", "ry", "rz", "cx", "cz", "swap", "u", "p", "id", "sx")
NATIVE: Final = ("sx", "x", "rz", "cx")
INSTRUCTIONS: Final = ("measure", "barrier", "reset")
DAY: Final = 86400


class DeviceError(ValueError):
    """What is wrong with a device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """`width` is how many jobs run at a time. `private`: only accounts that were granted it see it.

    `facts` are shown as `device_info`, as text or (`linked`) behind a link.
    """

    device_id: str
    device_type: str = "simulator"
    status: str = "available"
    n_qubits: int | None = None
    description: str = ""
    width: int = 1
    private: bool = False
    linked: bool = False
    facts: Mapping[str, Any] | None = None
    calibrated: bool = False

    @property
    def limit(self) -> int:
        return self.n_qubits or 64


def chip(qubits: int) -> dict[str, Any]:
    """A ring of qubits with plausible calibration data, the same on every call."""
    return {
        "name": "qpu",
        "device_id": "qpu",
        "qubits": [
            {
                "id": qubit,
                "physical_id": qubit,
                "position": {"x": qubit % 4, "y": qubit // 4},
                "fidelity": round(0.9991 - 0.0001 * qubit, 6),
                "meas_error": {
                    "prob_meas1_prep0": round(0.011 + 0.001 * qubit, 6),
                    "prob_meas0_prep1": round(0.019 + 0.001 * qubit, 6),
                    "readout_assignment_error": round(0.015 + 0.001 * qubit, 6),
                },
                "qubit_lifetime": {"t1": round(48.5 + 1.5 * qubit, 3), "t2": round(31.25 + 0.75 * qubit, 3)},
                "gate_duration": {"rz": 0, "sx": 40, "x": 80},
            }
            for qubit in range(qubits)
        ],
        "couplings": [
            {
                "control": qubit,
                "target": (qubit + 1) % qubits,
                "fidelity": round(0.985 - 0.0005 * qubit, 6),
                "gate_duration": {"cx": 280},
            }
            for qubit in range(qubits)
        ],
        "calibrated_at": "2026-01-02T03:04:05Z",
    }


def standard(workers: int) -> tuple[Device, ...]:
    return (
        Device(
            device_id="qulacs",
            n_qubits=39,
            description="State vector simulator",
            width=workers,
            facts={"n_nodes": 1, "max_shots": 10_000_000},
        ),
        Device(
            device_id="qpu",
            device_type="QPU",
            n_qubits=8,
            description="Eight qubits in a ring, without noise",
            linked=True,
            facts=chip(8),
            calibrated=True,
        ),
        Device(device_id="down", status="unavailable", description="Under maintenance", width=1),
        Device(device_id="private", n_qubits=20, description="For those to whom it was granted", private=True),
    )


def configured(given: Sequence[Mapping[str, Any]], workers: int) -> dict[str, Device]:
    """The standard ones, changed and added to by `given`; raises DeviceError."""
    found = {device.device_id: device for device in standard(workers)}
    known = {each.name for each in fields(Device)}
    for entry in given:
        name = entry.get("device_id")
        if not isinstance(name, str) or not name:
            raise DeviceError("a device needs a device_id")
        if unknown := sorted(set(entry) - known):
            raise DeviceError(f'device "{name}" has no "{unknown[0]}"; it has {", ".join(sorted(known))}')
        old = found.get(name, Device(device_id=name))
        found[name] = Device(**{each: entry.get(each, getattr(old, each)) for each in known})
    return found


def info_key(device: Device) -> str:
    return f"devices/{device.device_id}/device_info.zip"


def info_zip(device: Device) -> bytes:
    return packed("device_info.json", json.dumps(device.facts).encode())


def view(device: Device, pending: int, link: Callable[[str], str]) -> dict[str, Any]:
    """Nulls do appear here."""
    info = None
    if device.facts is not None:
        info = link(info_key(device)) if device.linked else json.dumps(device.facts)
    back = time.time() + DAY if device.status == "unavailable" else None
    return {
        "device_id": device.device_id,
        "device_type": device.device_type,
        "status": device.status,
        "available_at": at(back),
        "n_pending_jobs": pending,
        "n_qubits": device.n_qubits,
        "basis_gates": list(NATIVE if device.device_type == "QPU" else GATES),
        "supported_instructions": list(INSTRUCTIONS),
        "device_info": info,
        "calibrated_at": device.facts.get("calibrated_at") if device.calibrated and device.facts else None,
        "description": device.description,
    }
