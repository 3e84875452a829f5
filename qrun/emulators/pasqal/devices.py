"""The devices of the Pasqal stand-in: emulators that take many batches at once, and QPUs that take one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from qrun.emulators.accounts import Account
from qrun.emulators.pasqal.envelope import problem, refuse

CONFIGURED: Final = frozenset({"EMU_FREE", "EMU_SV", "EMU_MPS", "EMU_TN", "EMU_C"})  # take a backend configuration
MANY: Final = 10_000  # batches that an emulator begins at once; its jobs wait for a free worker


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """`private`: only for accounts to which it was granted. `serialised`: results come with Pulser's own form too."""

    name: str
    qpu: bool = False
    spec: Mapping[str, Any] | None = None
    up: bool = True
    private: bool = False
    serialised: bool = False

    @property
    def width(self) -> int:
        return 1 if self.qpu else MANY

    @property
    def status(self) -> str:
        return "UP" if self.up else "DOWN"


def usable(device: Device, account: Account) -> bool:
    return not device.private or device.name in account.granted


def spec(name: str, *, atoms: int = 100, runs: int = 2000, radius: int = 46) -> dict[str, Any]:
    """A device in Pulser's abstract representation: one global channel, and limits as a real one has."""
    return {
        "name": name,
        "version": "1",
        "dimensions": 2,
        "rydberg_level": 60,
        "min_atom_distance": 5.0,
        "max_atom_num": atoms,
        "max_radial_distance": radius,
        "max_sequence_duration": 6000,
        "max_runs": runs,
        "max_layout_filling": 0.5,
        "optimal_layout_filling": 0.45,
        "requires_layout": False,
        "supports_slm_mask": False,
        "reusable_channels": False,
        "is_virtual": False,
        "interaction_coeff_xy": None,
        "pre_calibrated_layouts": [],
        "channels": [
            {
                "id": "rydberg_global",
                "basis": "ground-rydberg",
                "addressing": "Global",
                "max_abs_detuning": 62.83185307179586,
                "max_amp": 12.566370614359172,
                "min_retarget_interval": None,
                "fixed_retarget_t": None,
                "max_targets": None,
                "clock_period": 4,
                "min_duration": 16,
                "max_duration": 6000,
                "mod_bandwidth": 8.0,
                "eom_config": None,
            }
        ],
    }


DEVICES: Final = {
    device.name: device
    for device in (
        Device(name="EMU_FREE"),
        Device(name="EMU_SV", serialised=True),
        Device(name="EMU_MPS", serialised=True),
        Device(name="EMU_TN"),
        Device(name="EMU_FRESNEL"),
        Device(name="EMU_C"),
        Device(name="FRESNEL", qpu=True, spec=spec("FRESNEL")),
        Device(name="FRESNEL_CAN1", qpu=True, spec=spec("FRESNEL_CAN1", runs=1000)),
        Device(name="FRESNEL_SA1", qpu=True, spec=spec("FRESNEL_SA1"), up=False),
        Device(name="FRESNEL8", qpu=True, spec=spec("FRESNEL8", atoms=8, radius=20)),
        Device(name="FRESNEL_RD", qpu=True, spec=spec("FRESNEL_RD"), private=True),
    )
}


def specs() -> dict[str, str]:
    """Of the QPUs that everybody may use."""
    return {device.name: json.dumps(device.spec) for device in DEVICES.values() if device.spec and not device.private}


def spec_of(name: str) -> dict[str, str]:
    found = specs()
    if name not in found:
        refuse(404, f"There are no specs of {name}")
    return {name: found[name]}


def public_specs() -> list[dict[str, str]]:
    return [{"device_type": name, "specs": text} for name, text in specs().items()]


def states(wanted: list[str]) -> list[dict[str, Any]]:
    if unknown := [name for name in wanted if name not in DEVICES]:
        refuse(422, [problem(f"{unknown[0]} is not a device type", "query", "device_type", kind="enum")])
    return [
        {
            "device_type": device.name,
            "status": device.status,
            "availability": "ACTIVE" if device.up else "INACTIVE",
            "is_emulator": not device.qpu,
        }
        for device in DEVICES.values()
        if (not wanted and not device.private) or device.name in wanted
    ]
