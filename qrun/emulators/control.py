"""The control routes of a stand-in: its own truth, faults and accounts. Only whoever started it knows the token."""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from qrun.emulators.accounts import Log
from qrun.emulators.faults import FaultError, Faults, of, read
from qrun.emulators.wire import Answer, Call, Refusal, Routes, refuse, said

if TYPE_CHECKING:
    from qrun.emulators.server import Cloud

PREFIX: Final = "/_emulator/"
HEADER: Final = "q-control-token"


class Control:
    """All answers are JSON; `account` in the query limits most of them to one account."""

    def __init__(self, cloud: Cloud, faults: Faults, log: Log) -> None:
        self.cloud = cloud
        self.faults = faults
        self.log = log
        self.token = secrets.token_urlsafe(24)
        self.routes: Routes[Any] = Routes()
        for method, path, handler in (
            ("GET", "books", self.books),
            ("GET", "requests", self.requests),
            ("GET", "faults", self.show_faults),
            ("POST", "faults", self.add_faults),
            ("DELETE", "faults", self.clear_faults),
            ("POST", "accounts", self.add_account),
            ("DELETE", "accounts", self.close_account),
        ):
            self.routes.add(method, PREFIX + path, handler)

    def answer(self, call: Call) -> Answer:
        if not hmac.compare_digest(call.headers.get(HEADER, "").encode("latin-1"), self.token.encode()):
            return said({"message": "the control token is wrong or missing"}, 401)
        route, handler, _ = self.routes.find(call.method, call.path)
        if handler is None:
            return said({"message": f"there is no {call.method} {call.path}"}, 405 if route else 404)
        try:
            answer: Answer = handler(call, call.query.get("account"))
        except Refusal as refusal:
            return refusal.answer
        return answer

    def books(self, call: Call, account: str | None) -> Answer:
        if call.query.get("brief"):
            return said(self.cloud.brief(account))
        return said(self.cloud.truth(account) | {"routes": self.log.routes(account)})

    def requests(self, _: Call, account: str | None) -> Answer:
        return said(self.log.requests(account))

    def show_faults(self, _: Call, account: str | None) -> Answer:
        rules = [rule for rule in self.faults.rules if account is None or rule.fault.account == account]
        return said([asdict(rule.fault) | {"struck": rule.struck} for rule in rules])

    def add_faults(self, call: Call, account: str | None) -> Answer:
        """A list of rules, each as text or as an object; those that name no account are for that of the query."""
        given = _json(call)
        if not isinstance(given, list):
            refuse(400, {"message": "a list of faults is needed"})
        try:
            rules = [read(each) if isinstance(each, str) else of(dict(each)) for each in given]
        except (FaultError, TypeError, ValueError) as error:
            refuse(400, {"message": str(error)})
        self.faults.add(rules, account)
        return said({"faults": len(self.faults.rules)})

    def clear_faults(self, _: Call, account: str | None) -> Answer:
        self.faults.clear(account)
        return said({"faults": len(self.faults.rules)})

    def add_account(self, call: Call, _: str | None) -> Answer:
        given = _json(call) if call.body else {}
        try:
            account = self.cloud.add_account(**given)
        except (TypeError, ValueError) as error:
            refuse(400, {"message": str(error)})
        return said({"name": account.name, "token": account.token})

    def close_account(self, _: Call, account: str | None) -> Answer:
        if account is None or account not in self.cloud.accounts.by_name:
            refuse(404, {"message": f'there is no account "{account}"'})
        self.faults.clear(account)
        self.cloud.close_account(account)
        self.log.forget(account)
        return said({"message": "account closed"})


def _json(call: Call) -> Any:
    try:
        return json.loads(call.body)
    except ValueError as error:
        refuse(400, {"message": f"the body is not JSON: {error}"})
