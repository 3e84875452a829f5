"""Somebody who types commands of qrun that lead to an account of the stand-in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.desk import PROJECT, Desk
from tests.emulator_pasqal import PARAMETRIZED, Cloud


class Author(Desk):
    """The connections are one with all that it needs, one that names no project, and one by way of OVH."""

    def __init__(self, folder: Path, account: Cloud) -> None:
        super().__init__(folder)
        self.secrets = {"PASQAL_PASSWORD": account.token, "PASQAL_TOKEN": account.token}
        self.write("rabi.json", PARAMETRIZED)
        self.write("work.json", '{"depth": 3, "angles": [0.1, 0.25]}')
        place = {"core_url": account.core, "account_url": f"{account.url}/account", "token_url": account.token_url}
        login = f'username = "{account.username}"\npassword = {{ env = "PASQAL_PASSWORD" }}\n'
        text = f'project = "{PROJECT}"\n'
        for name, lines in (
            ("there", f'project_id = "{account.project}"\n{login}'),
            ("nameless", login),
            ("by-ovh", 'variant = "ovh"\ntoken = { env = "PASQAL_TOKEN" }\n'),
        ):
            where = "".join(f'{key} = "{value}"\n' for key, value in place.items())
            text += f'[connections.{name}]\ntype = "pasqal"\n{where}{lines}'
        self.write("qrun.toml", text)

    def apply(self, *jobs: Mapping[str, Any], name: str = "exp", code: int = 0, **common: Any) -> None:
        """The manifest has these jobs now."""
        named = {
            f"j{place}": {"shots": each["runs"], "params": each["variables"]} if "runs" in each else each
            for place, each in enumerate(jobs)
        }
        usual = {"provider": "there", "device": "EMU_FREE", "program": "rabi.json"}
        self.write(f"{name}.yaml", json.dumps({"name": name, "defaults": {**usual, **common}, "jobs": named}))
        self.type("apply", "--yes", "--not-sent-elsewhere", f"{name}.yaml", "--no-wait", code=code)

    def type(self, *words: str, code: int = 0) -> None:
        answer = self.run(*words, env=self.secrets)
        assert answer.code == code, (answer.code, answer.err)
