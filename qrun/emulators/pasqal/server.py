"""The sockets of the Pasqal stand-in: core, account and tokens on one port, the results on another.

The paths of faults begin behind the base of the part they are for: `POST /api/v1/batches` is that of the core.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from qrun.emulators import Options
from qrun.emulators.control import PREFIX
from qrun.emulators.faults import Fault, Kind, When
from qrun.emulators.pasqal.cloud import STORAGE, TOKEN, Pasqal, host_of
from qrun.emulators.pasqal.envelope import oauth, refused
from qrun.emulators.server import Exchange, Receive, Scope, Send, Server, _send, _whole
from qrun.emulators.wire import Answer


class PasqalServer(Server):
    def __init__(self, options: Options, build: Callable[[Options, str], Pasqal] = Pasqal) -> None:
        super().__init__(options, self._kept(build))

    def _kept(self, build: Callable[[Options, str], Pasqal]) -> Callable[[Options, str], Pasqal]:
        def kept(options: Options, storage_url: str) -> Pasqal:
            self.pasqal = build(options, storage_url)
            return self.pasqal

        return kept

    async def start(self) -> dict[str, Any]:
        found = await super().start()
        base = self.urls[0]
        found["core"] = f"{base}/core-fast"
        found["account"] = f"{base}/account"
        found["token_url"] = f"{base}/oauth/token"
        return found | dict(self.pasqal.told())

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        storage = scope["server"][1] == self.storage_port
        call = await _whole(scope, receive, int(storage))
        if call is None:
            return
        if self.control is not None and not storage and call.path.startswith(PREFIX):
            await _send(send, self.control.answer(call))
            return
        host, path = host_of(storage, call.path)
        transport = scope["extensions"]["line"]["transport"]
        await Spoken(self, replace(call, host=host, path=path), transport, receive, send).run()


class Spoken(Exchange):
    """Words a status that was asked for as this cloud words its own refusals."""

    async def _spoil(self, fault: Fault) -> None:
        if fault.kind is not Kind.STATUS or fault.body != "own" or self.call.host == STORAGE:
            await super()._spoil(fault)
            return
        if fault.when is When.AFTER:
            self._done()
        await self._finish(worded(fault, self.call.host))


def worded(fault: Fault, host: int) -> Answer:
    words = fault.message or "A fault that was asked for"
    answer = oauth(fault.status, "emulator_fault", words) if host == TOKEN else refused(fault.status, words)
    if fault.retry_after is None:
        return answer
    return replace(answer, headers=((b"retry-after", fault.retry_after.encode("latin-1", "replace")),))
