"""One submit, which may be repeated at any of its steps without ever starting two jobs (RELIABILITY §2.4, class A').

Register, note the id, upload, note that, submit. Until the last step nothing runs, so its failures are proof that
nothing was started; from there on the job's status tells what became of a request whose answer is lost, and the same
id may be submitted again. A second id is asked for only where the first was never uploaded, or is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qrun.clock import Clock
from qrun.errors import Denied, Missing, ProviderError, Rejected, Unavailable, Uncertain
from qrun.http import Call, Http, segment
from qrun.provider import Sending
from qrun.providers.oqtopus import wire
from qrun.providers.oqtopus.asking import read
from qrun.providers.oqtopus.looking import known
from qrun.record import Handle

TRIES: Final = 4  # of a request whose answer is lost
PAUSE: Final = 0.25  # seconds after the first of them; then twice as long each time
OLD: Final = 422  # how the older API answers a registration
CURE: Final = "it speaks the older inline API, which qrun does not; ask for an update of the service"


@dataclass(frozen=True, kw_only=True, slots=True)
class Body:
    """`metadata` lacks the description: its marks are known only when the submission is sent."""

    packed: bytes = field(repr=False)
    metadata: Mapping[str, Any]


async def submit(http: Http, clock: Clock, body: Body, text: str, sending: Sending) -> Handle:
    """`text` is the user's description. Raises Uncertain where the job may have been started."""
    metadata = {**body.metadata, "description": wire.described(text, sending.marker, sending.mark)}
    earlier = await _earlier(http, sending)
    if earlier is None:
        handle = await _uploaded(http, body.packed, sending)
        await _start(http, clock, handle, metadata, doubt=False)
        return handle
    handle, runs = earlier
    if not runs:
        await _start(http, clock, handle, metadata, doubt=True)
    return handle


async def _earlier(http: Http, sending: Sending) -> tuple[Handle, bool] | None:
    """The job that an earlier run uploaded under this marker, and whether it was started; None where there is none."""
    if not (sending.noted.get("uploaded") and sending.noted.get("job_id")):
        return None
    handle = Handle(sending.noted["job_id"])
    try:
        found = wire.found(await known(http, handle))
    except Missing:
        return None
    except ProviderError as error:
        raise Uncertain(f'whether "{handle}" was started cannot be seen: {error}', hint="run again later") from error
    if found.word == "cancelled" and not found.started:
        await _delete(http, handle)
        return None
    return handle, found.started


async def _delete(http: Http, handle: Handle) -> None:
    """It never ran and never can; only tidiness is lost where it stays. 500 may come after it is gone, then 404."""
    try:
        await http.ask(Call.CANCEL, "DELETE", f"/jobs/{segment(handle)}")
    except ProviderError:
        return


async def _uploaded(http: Http, packed: bytes, sending: Sending) -> Handle:
    """A fresh id with its program in place. Nothing runs yet, whatever goes wrong."""
    try:
        handle, url, fields = await _registered(http)
        forgotten = {"uploaded": ""} if sending.noted.get("uploaded") else {}
        await sending.note(job_id=handle, **forgotten)
        name = fields.get("key", "").rpartition("/")[2] or "input.zip"
        await http.upload(url, fields, (name, packed, "application/zip"))
    except (Rejected, Denied, Unavailable):
        raise
    except ProviderError as error:
        words = f"the job could not be registered and uploaded: {error}"
        raise Unavailable(words, provider_code=error.provider_code, words=error.words) from error
    await sending.note(uploaded="yes")
    return handle


async def _registered(http: Http) -> tuple[Handle, str, dict[str, str]]:
    """An id, and the form with which a program is uploaded: its fields go back as they came, whatever they are."""
    try:
        told = await read(http, "/jobs", method="POST")
    except ProviderError as error:
        if error.status != OLD:
            raise
        raise Rejected(f'"{http.name}" does not register jobs', hint=CURE, words=error.words) from error
    form = told.get("presigned_url") if isinstance(told, dict) else None
    if form is None and isinstance(told, dict) and "job_id" in told:
        raise Rejected(f'"{http.name}" gives no place for the program', hint=CURE)
    handle = wire.handle(told)
    url = wire.member(form, "url", of="the form for the upload")
    fields = wire.member(form, "fields", dict, of="the form for the upload")
    return handle, url, {str(name): str(value) for name, value in fields.items()}


async def _start(http: Http, clock: Clock, handle: Handle, metadata: Mapping[str, Any], *, doubt: bool) -> None:
    """`doubt`: an earlier request may have started it, or may still be on its way."""
    for turn in range(TRIES):
        if turn:
            await clock.sleep(PAUSE * 2 ** (turn - 1))
        try:
            reply = await http.ask(Call.SUBMIT, "POST", f"/jobs/{segment(handle)}/submit", json=metadata)
            if wire.words(reply) is not None:
                return
            raise reply.malformed("the answer is not the service's own")
        except Uncertain as error:
            doubt, lost = True, error
        except (Unavailable, Denied) as error:
            if not doubt:
                raise
            raise _uncertain(handle, error) from error
        except Rejected as error:
            if await _runs(http, handle, error):
                return
            raise
        if await _runs(http, handle, lost):
            return
    raise _uncertain(handle, lost)


async def _runs(http: Http, handle: Handle, told: ProviderError) -> bool:
    """Whether the job was started, by this request or by one before it; a load balancer may even repeat requests."""
    try:
        return wire.found(await known(http, handle)).started
    except ProviderError as error:
        if isinstance(told, Rejected) and isinstance(error, Missing):
            raise told from error
        raise _uncertain(handle, told) from error


def _uncertain(handle: Handle, error: ProviderError) -> Uncertain:
    return Uncertain(f'whether "{handle}" was started is not known: {error}', hint="qrun looks again before it sends")
