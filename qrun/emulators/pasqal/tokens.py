"""The account host of the Pasqal stand-in: tokens for people and for services, and whose they are; projects.

An account is one person and one service at once. Its token `<id>.<secret>` is the person's password, its two halves are
the service's client id and secret, and as a whole it is a ready token too, one that is no JWT and never expires.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import NAMESPACE_URL, uuid5

from qrun.emulators.accounts import Account, Accounts
from qrun.emulators.pasqal.devices import DEVICES, usable
from qrun.emulators.pasqal.envelope import oauth, problem, refuse
from qrun.emulators.wire import Answer, Call, said

PATHS: Final = frozenset({"/oauth/token", "/realms/pasqal-cloud/protocol/openid-connect/token"})
REALMS: Final = frozenset({"pcs-users", "pasqal-cloud"})
CLIENTS: Final = frozenset({"PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB", "cloud-sdk"})  # public: whoever asks for a person
AUDIENCE: Final = "https://apis.pasqal.cloud/account/api/v1"
OF_A_REALM: Final = "http://auth0.com/oauth/grant-type/password-realm"
OF_A_PERSON: Final = frozenset({OF_A_REALM, "password"})
OF_A_SERVICE: Final = "client_credentials"
SCOPE: Final = "openid profile email"
DAY: Final = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Ways:
    """What may differ from account to account. Times are seconds.

    `life`: of tokens; `told`: whether their answer says so; `jwt`: whether one can read it in the token; `idle`: how
    long an open batch waits for more jobs.
    """

    life: float = DAY
    told: bool = True
    jwt: bool = True
    idle: float = 600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Issued:
    """`subject` is the user id that rows made with this token bear."""

    account: Account
    subject: str
    until: float


@dataclass(kw_only=True)
class Tokens:
    accounts: Accounts
    ways: dict[str, Ways] = field(default_factory=dict)
    issued: dict[str, Issued] = field(default_factory=dict, repr=False)
    made: Counter[str] = field(default_factory=Counter)
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def of(self, call: Call, now: float | None = None) -> Issued | None:
        """Whose request it is, by its bearer token."""
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        ready = self.accounts.by_token.get(token)
        if ready is not None:
            return Issued(account=ready, subject=person(ready), until=float("inf"))
        found = self.issued.get(token)
        now = time.time() if now is None else now
        return (
            found if found is not None and found.until > now and found.account.name in self.accounts.by_name else None
        )

    def way(self, account: str) -> Ways:
        return self.ways.get(account, Ways())

    def forget(self, account: str) -> None:
        self.ways.pop(account, None)
        del self.made[account]
        for token in [token for token, issued in self.issued.items() if issued.account.name == account]:
            del self.issued[token]

    def meant(self, call: Call) -> Account | None:
        """Whom a request for a token names, whether it is right or not."""
        form = _form(call) or {}
        by_name = self.accounts.by_name.get(str(form.get("username", "")))
        return by_name or _service(self.accounts, str(form.get("client_id", "")))

    # --- the token endpoint ---------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        if call.method != "POST":
            return oauth(405, "invalid_request", "POST is needed")
        form = _form(call)
        if form is None:
            return oauth(400, "invalid_request", "The body is neither a form nor JSON")
        grant = form.get("grant_type")
        if grant in OF_A_PERSON:
            return self._person(form, str(grant))
        if grant == OF_A_SERVICE:
            return self._service(form)
        return oauth(403 if grant else 400, "unsupported_grant_type", f"Unsupported grant type: {grant}")

    def _person(self, form: Mapping[str, Any], grant: str) -> Answer:
        if missing := [name for name in ("client_id", "username", "password") if not form.get(name)]:
            return oauth(400, "invalid_request", f"Missing required parameter: {missing[0]}")
        if form["client_id"] not in CLIENTS:
            return oauth(401, "invalid_client", "Unknown client")
        if grant == OF_A_REALM and form.get("realm") not in REALMS:
            return oauth(400, "invalid_request", "Unknown or missing realm")
        if form.get("audience", AUDIENCE) != AUDIENCE:
            return oauth(403, "access_denied", f"Service not found: {form['audience']}")
        account = self.accounts.by_name.get(str(form["username"]))
        if account is None or not _same(account.token, form["password"]):
            return oauth(403, "invalid_grant", "Wrong email or password.")
        return self._issue(account, person(account))

    def _service(self, form: Mapping[str, Any]) -> Answer:
        if form.get("audience") != AUDIENCE:
            return oauth(403, "access_denied", f"Service not found: {form.get('audience')}")
        account = _service(self.accounts, str(form.get("client_id", "")))
        if account is None or not _same(halves(account)[1], form.get("client_secret", "")):
            return oauth(401, "access_denied", "Unauthorized")
        return self._issue(account, service(account))

    def _issue(self, account: Account, subject: str) -> Answer:
        if account.revoked:
            return oauth(403, "invalid_grant", "The account is blocked.")
        way, now = self.way(account.name), time.time()
        token = self._jwt(subject, now, now + way.life) if way.jwt else secrets.token_urlsafe(32)
        self.issued[token] = Issued(account=account, subject=subject, until=now + way.life)
        self.made[account.name] += 1
        told = {"expires_in": int(way.life)} if way.told else {}
        return said({"access_token": token, "token_type": "Bearer", "scope": SCOPE, **told})

    def _jwt(self, subject: str, now: float, until: float) -> str:
        head = {"alg": "HS256", "typ": "JWT"}
        claims = {"sub": subject, "aud": [AUDIENCE], "iat": int(now), "exp": int(until), "scope": SCOPE}
        claims["jti"] = secrets.token_hex(8)
        text = ".".join(_coded(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_coded(hmac.digest(self.secret, text.encode(), hashlib.sha256))}"


def _form(call: Call) -> dict[str, Any] | None:
    kind = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        return dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    if kind != "application/json":
        return None
    try:
        given = json.loads(call.body)
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def _same(one: str, other: Any) -> bool:
    return hmac.compare_digest(one.encode(), str(other).encode("utf-8", "replace"))


def _coded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _service(accounts: Accounts, client_id: str) -> Account | None:
    return next((account for account in accounts if halves(account)[0] == client_id), None)


def halves(account: Account) -> tuple[str, str]:
    """The client id and secret of the account's service."""
    first, _, second = account.token.partition(".")
    return first, second


def person(account: Account) -> str:
    return f"auth0|{account.name}"


def service(account: Account) -> str:
    return f"{halves(account)[0]}@clients"


# --- projects ---------------------------------------------------------------------------------------------------------

PROJECTS: Final = (("main", "ACTIVE"), ("second", "ACTIVE"), ("old", "ARCHIVED"))


def project_id(account: str, name: str = PROJECTS[0][0]) -> str:
    """The same for the same account wherever it is made."""
    return str(uuid5(NAMESPACE_URL, f"qrun-emulator/pasqal/{account}/{name}"))


def active(account: str) -> frozenset[str]:
    return frozenset(project_id(account, name) for name, status in PROJECTS if status == "ACTIVE")


def projects(account: Account, wanted: str | None) -> list[dict[str, Any]]:
    if wanted is not None and wanted not in ("ACTIVE", "ARCHIVED"):
        refuse(422, [problem("ACTIVE or ARCHIVED is needed", "query", "project_status", kind="enum")])
    return [
        {
            "id": project_id(account.name, name),
            "project_id": project_id(account.name, name),
            "name": name,
            "project_status": status,
            "project_type": "PAY_PER_USE",
            "queue_priority": "MEDIUM",
            "allowed_device_types": [each.name for each in DEVICES.values() if usable(each, account)],
            "allowed_workload_types": [],
        }
        for name, status in PROJECTS
        if wanted in (None, status)
    ]
