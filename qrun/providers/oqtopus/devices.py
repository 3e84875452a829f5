"""The devices of a cloud, asked for together and remembered for a minute."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.archive import entry
from qrun.clock import Clock
from qrun.errors import ProviderError, Unexpected
from qrun.http import Http
from qrun.job import Job
from qrun.provider import Device
from qrun.providers.oqtopus import wire
from qrun.providers.oqtopus.asking import read

FRESH: Final = 60.0  # seconds
INFO: Final = 4 * 2**20  # bytes of a device's own description, unpacked
LINK: Final = ("http://", "https://", "file://")
NAMES: Final = 12  # devices that a refusal lists
SNAPSHOT: Final = (
    "device_id",
    "device_type",
    "status",
    "n_qubits",
    "basis_gates",
    "supported_instructions",
    "calibrated_at",
    "description",
)

Document = Mapping[str, Any]


class Devices:
    def __init__(self, http: Http, clock: Clock) -> None:
        self.http = http
        self.clock = clock
        self._known: dict[str, Document] = {}
        self._until = float("-inf")
        self._asking = asyncio.Lock()
        self._infos: dict[tuple[str, Any], Any] = {}  # by device and time of calibration; None: not to be had

    async def all(self) -> Sequence[Device]:
        known = await self._ask()
        infos = await asyncio.gather(*map(self._info, known.values()))
        return [device(document, info) for document, info in zip(known.values(), infos, strict=True)]

    async def usable(self, job: Job) -> Mapping[str, Any]:
        """What is said of the job's device now; raises Rejected where it cannot take the job."""
        async with self._asking:
            known = self._known if self.clock.monotonic() < self._until else await self._ask()
            document = known.get(job.target.device)
            check(job, document, known)
            assert document is not None
            return snapshot(document, await self._info(document))

    async def _ask(self) -> Mapping[str, Document]:
        told = await read(self.http, "/devices")
        if not isinstance(told, list):
            raise Unexpected("the list of devices is not a list", hint="the service may be newer than this qrun")
        self._known = {wire.member(each, "device_id", of="a device"): each for each in told}
        self._until = self.clock.monotonic() + FRESH
        self._infos = {name: info for name, info in self._infos.items() if name[1] is not None and info is not None}
        return self._known

    async def _info(self, document: Document) -> Any:
        """The device's own description, JSON in the document or behind a link; None where it is not to be had."""
        told = document.get("device_info")
        if not isinstance(told, str) or not told:
            return None
        name = (str(document["device_id"]), document.get("calibrated_at"))
        if name not in self._infos:
            try:
                data = entry(await self.http.download(told, limit=INFO), limit=INFO) if linked(told) else told.encode()
                self._infos[name] = wire.keepable(data) if len(data) <= INFO else None
            except ProviderError:
                self._infos[name] = None
        return self._infos[name]


def linked(text: str) -> bool:
    return text.startswith(LINK)


def check(job: Job, document: Document | None, known: Mapping[str, Document]) -> None:
    if document is None:
        listed = ", ".join(sorted(known)[:NAMES]) + (" and others" if len(known) > NAMES else "")
        hint = f"this account may use {listed}" if known else "this account may use none"
        raise wire.refused(job, f'there is no device "{job.target.device}"', field="device", hint=hint)
    if document.get("status") != "available":
        since = wire.moment(document.get("available_at"))
        hint = f"it is expected back at {since}: run again then" if since else "run again later"
        message = f'device "{job.target.device}" is {document.get("status")}'
        raise wire.refused(job, message, field="device", hint=hint)


def snapshot(document: Document, info: Any) -> dict[str, Any]:
    """What the record keeps: what the device is, not how busy; no link, which would be a credential."""
    told = {name: document[name] for name in SNAPSHOT if document.get(name) is not None}
    return told if info is None else told | {"device_info": info}


def device(document: Document, info: Any) -> Device:
    facts = {name: value for name, value in document.items() if name != "device_info" and value is not None}
    return Device(
        device=document["device_id"],
        status=str(document.get("status")),
        qubits=_whole(document.get("n_qubits")),
        pending=_whole(document.get("n_pending_jobs")),
        calibrated_at=wire.moment(document.get("calibrated_at")),
        facts=facts if info is None else {**facts, "device_info": info},
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
