"""What an OQTOPUS cloud says of the account itself, its token, the announcements and the system."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from qrun.clock import instant
from qrun.emulators.accounts import Account
from qrun.emulators.oqtopus.asked import invalid, problem
from qrun.emulators.oqtopus.shown import at
from qrun.emulators.wire import Answer, Call, refuse, said

YEAR: Final = 365 * 86400
ANNOUNCEMENTS: Final[tuple[dict[str, Any], ...]] = (
    {
        "id": 1,
        "title": "A stand-in",
        "content": "This is qrun's emulator. Nothing here costs anything.",
        "start_time": "2026-01-01T00:00:00Z",
        "end_time": "2036-01-01T00:00:00Z",
        "publishable": True,
    },
    {
        "id": 2,
        "title": "Maintenance",
        "content": "Device down is under maintenance.",
        "start_time": "2026-01-02T00:00:00Z",
        "end_time": "2036-01-01T00:00:00Z",
        "publishable": True,
    },
)
SETTINGS: Final = {
    "editable_fields": ["name", "organization"],
    "allow_deletion": True,
    "visible_fields": ["id", "name", "email", "organization", "created_at"],
    "login_history_enabled": False,
}


class People:
    """Answers about one account each; what they keep is in the account."""

    def table(self) -> dict[str, Callable[..., Answer]]:
        return {
            "GET /api-token/status": self.token_status,
            "POST /api-token": self.new_token,
            "DELETE /api-token": self.revoke,
            "GET /users/me": self.me,
            "PATCH /users/me": self.change,
            "DELETE /users/me": self.leave,
            "GET /announcements": self.announcements,
            "GET /announcements/{number}": self.announcement,
            "GET /system/settings": self.settings,
        }

    def token_status(self, _: Call, account: Account) -> Answer:
        return said({"api_token_expiration": at(account.created + YEAR)})

    def new_token(self, _: Call, __: Account) -> Answer:
        refuse(403, {"message": "an api token cannot be issued with an api token"})

    def revoke(self, _: Call, account: Account) -> Answer:
        account.revoked = True
        return said({"message": "api token deleted"})

    def me(self, _: Call, account: Account) -> Answer:
        return said(_shown(account))

    def change(self, call: Call, account: Account) -> Answer:
        given = _body(call)
        for name in ("name", "organization"):
            if isinstance(given.get(name), str):
                setattr(account, {"name": "person"}.get(name, name), given[name])
        return said(_shown(account))

    def leave(self, _: Call, account: Account) -> Answer:
        account.revoked = True
        return Answer(status=204)

    def announcements(self, call: Call, _: Account) -> Answer:
        """All of them, or those that stand at `current_time`."""
        query = call.query
        listed = list(ANNOUNCEMENTS)
        if "current_time" in query:
            now = _time(query["current_time"])
            listed = [each for each in listed if instant(each["start_time"]) <= now <= instant(each["end_time"])]
        if query.get("order", "").upper() == "DESC":
            listed.reverse()
        first, most = (int(text) if (text := query.get(name, "")).isdigit() else None for name in ("offset", "limit"))
        listed = listed[first or 0 :]
        return said({"announcements": listed if most is None else listed[:most]})

    def announcement(self, _: Call, __: Account, number: str) -> Answer:
        if not number.isdigit():
            invalid([problem("int_parsing", ("path", "announcement_id"), "Input should be a valid integer")])
        found = [each for each in ANNOUNCEMENTS if each["id"] == int(number)]
        if not found:
            refuse(404, {"message": "announcement not found with the given id"})
        return said(found[0])

    def settings(self, _: Call, __: Account) -> Answer:
        return said(SETTINGS)


def _time(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        invalid([problem("datetime_parsing", ("query", "current_time"), "Input should be a valid datetime")])
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.token.partition(".")[0],
        "email": f"{account.name}@example.org",
        "name": account.person or account.name,
        "organization": account.organization or "qrun",
        "created_at": at(account.created),
    }


def _body(call: Call) -> dict[str, Any]:
    try:
        given = json.loads(call.body or b"{}")
    except ValueError:
        given = None
    if not isinstance(given, dict):
        invalid([problem("json_invalid", ("body",), "JSON decode error")])
    return given
