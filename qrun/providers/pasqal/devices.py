"""The devices of Pasqal Cloud: what each is, remembered for a minute, and whether it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.canonical import canonical
from qrun.clock import Clock
from qrun.errors import Denied, Missing, ProviderError, Rejected, Unexpected
from qrun.foreign import parse
from qrun.provider import Device
from qrun.providers.pasqal.core import Core
from qrun.providers.pasqal.envelope import held
from qrun.providers.pasqal.limits import limit
from qrun.providers.pasqal.places import Route
from qrun.providers.pasqal.wire import said

FRESH: Final = 60.0  # seconds
# Of a device's description, what is shown first; the rest stays in `specs`.
LIMITS: Final = (
    "max_runs",
    "max_sequence_duration",
    "max_atom_num",
    "min_atom_distance",
    "max_radial_distance",
    "dimensions",
    "requires_layout",
)

Specs = Mapping[str, Any]


class Devices:
    def __init__(self, core: Core, clock: Clock) -> None:
        self.core = core
        self.clock = clock
        self._known: Mapping[str, Specs] = {}
        self._until = float("-inf")
        self._asking = asyncio.Lock()

    async def all(self) -> Sequence[Device]:
        known = await self._ask()
        states = await asyncio.gather(*map(self._state, known))
        return [device(name, specs, state) for (name, specs), state in zip(known.items(), states, strict=True)]

    async def specs(self, name: str) -> Specs | None:
        """In force now; None for a device that has none, as some emulators, and where nobody tells."""
        async with self._asking:
            if self.clock.monotonic() >= self._until:
                try:
                    await self._ask()
                except (Missing, Unexpected, Rejected):
                    self._known, self._until = {}, self.clock.monotonic() + FRESH
            return self._known.get(name)

    async def _ask(self) -> Mapping[str, Specs]:
        self._known = await self._listed()
        self._until = self.clock.monotonic() + FRESH
        return self._known

    async def _listed(self) -> dict[str, Specs]:
        """Those of the account; where it may not see them, and by way of OVH, those that everybody may."""
        if not self.core.ovh:
            await self.core.tokens.ready()  # without one it is no matter of what the account may see
            try:
                told = await self.core.read(Route.SPECS)
            except Denied as error:
                if error.status != 403:
                    raise
            else:
                return described(held(told, dict, of="the list of devices"))
        told = await self.core.read(Route.PUBLIC_SPECS, anonymous=True)
        listed = held(told, list, of="the list of devices")
        return described({said(each, "device_type"): each.get("specs") for each in listed if isinstance(each, Mapping)})

    async def _state(self, name: str) -> Mapping[str, Any]:
        """A device whose state cannot be seen is there all the same."""
        try:
            told = await self.core.read(Route.STATES, query=[("device_type", name)], anonymous=True)
        except (Missing, Unexpected, Rejected):
            return {}
        except ProviderError as error:
            if error.status in (401, 403):
                return {}
            raise
        found = told["data"]
        state = found[0] if isinstance(found, list) and found else found
        return state if isinstance(state, Mapping) else {}


def described(told: Mapping[str, Any]) -> dict[str, Specs]:
    """Descriptions are JSON in a text; one that cannot be kept is left out, its device is not."""
    return {name: _description(text) for name, text in sorted(told.items()) if name}


def _description(told: Any) -> Specs:
    try:
        found = parse(told.encode()) if isinstance(told, str) else told
        canonical(found)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


def snapshot(name: str, specs: Specs) -> dict[str, Any]:
    """What the record keeps of the device."""
    return {"device": name, "specs": specs}


def device(name: str, specs: Specs, state: Mapping[str, Any]) -> Device:
    """Its words stay the cloud's own: UP, and ACTIVE unless it says otherwise, takes jobs and runs them."""
    up, active = said(state, "status"), said(state, "availability")
    qubits = limit(specs, "max_atom_num")
    facts = {key: specs[key] for key in LIMITS if specs.get(key) is not None}
    return Device(
        device=name,
        status=" ".join(word for word in (up, active if active != "ACTIVE" else "") if word) or "unknown",
        qubits=None if qubits is None else int(qubits),
        facts={**facts, **({"availability": active} if active else {}), **({"specs": specs} if specs else {})},
    )
