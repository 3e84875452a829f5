"""The token that proves who asks: fetched late, kept in memory, renewed before it expires and once when refused.

It comes from a user's login, from a service account, or ready made; a ready one is asked for anew from its source.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from qrun.connection import Access, Connection
from qrun.errors import Denied, SettingsError, Unavailable
from qrun.http import Call, Http, Reply, Words, parse
from qrun.providers.pasqal.places import Place
from qrun.redact import note

EARLY: Final = 60.0  # seconds before its end that a token is renewed, or half its life where that is shorter
NEVER: Final = float("inf")
GRANT: Final = "client_credentials"
CURE: Final = "give username and password, or client_id and client_secret, or token"


class Tokens:
    """`until` is when the token is to be renewed, `ends` when it is no longer good; seconds of the monotonic clock."""

    def __init__(self, connection: Connection, access: Access, place: Place, transport: Any = None) -> None:
        self.name = connection.name
        self.settings = connection.settings
        self.access = access
        self.place = place
        self.token = ""
        self.until = self.ends = float("-inf")
        self._login: Mapping[str, str] = {}
        self._turn = asyncio.Lock()
        self._way = way(connection)
        folder, _, self._last = place.token.rpartition("/")
        self.http = Http(
            name=connection.name,
            url=folder,
            access=access,
            headers=dict,
            words=words,
            settings={key: value for key, value in connection.settings.items() if key == "proxy"},
            secrets=self.secrets,
            limited=True,
            transport=transport,
        )

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def secrets(self) -> Iterable[str]:
        known = (self.token, *(self._login.get(key, "") for key in ("password", "client_secret")))
        return [secret for secret in known if secret]

    async def ready(self) -> str:
        """A token that is good for now."""
        async with self._turn:
            now = self.access.clock.monotonic()
            if now >= self.until:
                try:
                    await self._renew()
                except Unavailable:
                    if now >= self.ends:
                        raise
            return self.token

    async def renew(self, refused: str, error: Denied) -> None:
        """After a 401: another token than the refused one, or the error itself."""
        async with self._turn:
            if self.token == refused:
                self.token, self.until, self.ends = "", float("-inf"), float("-inf")
                await self._renew()
        if self.token == refused:
            raise error

    async def _renew(self) -> None:
        token, seconds = await self._given() if self._way == "token" else await self._asked()
        note(token)
        now = self.access.clock.monotonic()
        self.token = token
        self.ends = NEVER if seconds is None else now + seconds
        self.until = NEVER if seconds is None else now + seconds - min(EARLY, seconds / 2)

    async def _given(self) -> tuple[str, float | None]:
        """A ready token; where it says that it has expired, that is left to the service to judge."""
        token = (await self._revealed("token")).strip()
        seconds = lifetime(token, self.access.clock.now())
        return token, seconds if seconds and seconds > 0 else None

    async def _asked(self) -> tuple[str, float | None]:
        if not self._login:
            self._login = await self._form()
        try:
            reply = await self.http.ask(Call.AUTH, "POST", f"/{self._last}", form=self._login)
        except Denied as error:
            raise self._refused(error) from error
        return granted(reply)

    def _refused(self, error: Denied) -> Denied:
        """Here every refusal, whatever its number, is about who asks."""
        who = "client_id and client_secret" if self._way == "service" else "username and password"
        problems = [replace(each, hint=f'check {who} of connection "{self.name}"') for each in error.problems]
        return Denied(*problems, provider_code=error.provider_code, words=error.words, status=error.status)

    async def _form(self) -> dict[str, str]:
        place = self.place
        if self._way == "service":
            account = {key: await self._revealed(key) for key in ("client_id", "client_secret")}
            return {**account, "audience": place.audience, "grant_type": GRANT}
        form = {"client_id": place.client_id, "grant_type": place.grant_type, "audience": place.audience}
        realm = {} if place.realm is None else {"realm": place.realm}
        return {**form, **realm, **{key: await self._revealed(key) for key in ("username", "password")}}

    async def _revealed(self, key: str) -> str:
        """A name may stand in the settings as it is; the rest comes from its source, now."""
        value = self.settings[key]
        try:
            return value if isinstance(value, str) and key != "token" else await self.access.revealed(value)
        except SettingsError as error:
            if not self.token and not self._login:
                raise
            raise Denied(str(error)) from error

    async def aclose(self) -> None:
        await self.http.aclose()


def way(connection: Connection) -> str:
    """How this connection gets its token; raises SettingsError where none is complete."""
    settings = connection.settings
    if settings.get("token") is not None:
        return "token"
    for name, login, secret in (("service", "client_id", "client_secret"), ("user", "username", "password")):
        given = [key for key in (login, secret) if settings.get(key) is not None]
        if len(given) == 2:
            return name
        if given:
            lacking = secret if given == [login] else login
            raise SettingsError(f'connection "{connection.name}" has {given[0]} and no {lacking}', hint=CURE)
    raise SettingsError(f'connection "{connection.name}" has no credentials', hint=CURE)


def words(reply: Reply) -> Words | None:
    """The token endpoint's own error, in the form of OAuth."""
    try:
        told = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    code = told.get("error") if isinstance(told, dict) else None
    if not isinstance(code, str):
        return None
    said = told.get("error_description")
    return Words(code=code, message=said if isinstance(said, str) and said else code)


def granted(reply: Reply) -> tuple[str, float | None]:
    """The token, and how many seconds it is good for; None where nobody says."""
    told = _told(reply)
    token = told.get("access_token") if isinstance(told, dict) else None
    if not isinstance(token, str) or not token:
        raise reply.malformed("the answer holds no access_token")
    seconds = told.get("expires_in")
    if isinstance(seconds, str) and seconds.isascii() and seconds.isdigit():
        seconds = int(seconds[:12])
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and seconds > 0:
        return token, float(seconds)
    left = lifetime(token, reply.date() or reply.received)
    return token, left if left and left > 0 else None


def _told(reply: Reply) -> Any:
    """The answer as it came: a token that was given out before is hidden in all that else is read from answers."""
    try:
        return parse(reply.content)
    except ValueError:
        return reply.json()


def lifetime(token: str, now: float) -> float | None:
    """Seconds from now to the `exp` that a JWT names; its signature is not for us to check."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    end = claims.get("exp") if isinstance(claims, dict) else None
    return float(end) - now if isinstance(end, (int, float)) and not isinstance(end, bool) else None
