"""Commands on Pasqal Cloud where nobody configured a connection: the stand-in's variables, and what they never do."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import PROJECT, Answer, Desk
from tests.emulator_pasqal import PARAMETRIZED, Cloud, shared


class Lab(Desk):
    """A project without connections, beside a stand-in that left word of itself as `qrun emulator up` does."""

    def __init__(self, folder: Path, account: Cloud) -> None:
        super().__init__(folder)
        self.account = account
        self.write("specs/programs/rabi.json", PARAMETRIZED)
        client_id, _, client_secret = account.token.partition(".")
        line = {
            "core": account.core,
            "account": f"{account.url}/account",
            "token_url": account.token_url,
            "username": account.username,
            "password": account.token,
            "client_id": client_id,
            "client_secret": client_secret,
            "project_id": account.project,
            "token": account.token,
            "pid": os.getpid(),
        }
        self.write(".cache/qrun/emulator-pasqal.json", json.dumps(line))

    @property
    def variables(self) -> dict[str, str]:
        """As a shell understands them."""
        export, *pairs = shlex.split(self.run("emulator", "env", "pasqal").out)
        assert export == "export"
        return dict(pair.split("=", 1) for pair in pairs)

    def job(self, provider: str = "pasqal") -> None:
        self.bell("exp", provider=provider, device="EMU_FREE", program="programs/rabi.json", params={"omega": 0.25})

    def apply(self, *words: str, **variables: str) -> Answer:
        return self.run("apply", "--yes", *words, env=variables)


@pytest.fixture
def account() -> Iterator[Cloud]:
    account = shared().new_account()
    yield account
    account.close()


@pytest.fixture
def lab(tmp_path: Path, account: Cloud, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith(("PASQAL_", "XDG_"))]:
        monkeypatch.delenv(name)
    return Lab(tmp_path, account)


def test_a_manifest_that_names_the_type_runs_on_the_stand_in_that_env_names(lab: Lab, account: Cloud) -> None:
    lab.job()

    first, second = lab.apply(**lab.variables), lab.apply(**lab.variables)

    assert (first.code, first.out) == (0, "exp: 1 succeeded; results in results/exp\n"), first.err
    assert (second.code, second.out) == (0, "nothing to do: 1 job is done\n")
    (batch,) = account.books()["batches"]
    assert (batch["status"], batch["project_id"]) == ("DONE", account.project)


@pytest.mark.parametrize("stale", ["PASQAL_AUTH_TOKEN", "PASQAL_TOKEN", "PASQAL_REGION"])
def test_what_the_shell_still_holds_for_the_cloud_itself_does_not_reach_the_stand_in(
    lab: Lab, account: Cloud, stale: str
) -> None:
    lab.job()

    answer = lab.apply(**lab.variables, **{stale: "sa"})

    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    "names",
    [
        ("PASQAL_USERNAME", "PASQAL_PASSWORD"),
        ("PASQAL_CLIENT_ID", "PASQAL_CLIENT_SECRET"),
        ("PASQAL_AUTH_TOKEN",),
        ("PASQAL_TOKEN",),
    ],
)
def test_a_connection_with_a_project_alone_runs_with_each_kind_of_credentials(
    lab: Lab, account: Cloud, names: tuple[str, ...]
) -> None:
    lab.write(
        "qrun.toml",
        f'project = "{PROJECT}"\n[connections.fresnel]\ntype = "pasqal"\nproject_id = "{account.project}"\n',
    )
    lab.job("fresnel")
    there = {**lab.variables, "PASQAL_AUTH_TOKEN": account.token, "PASQAL_TOKEN": account.token}
    places = {name: value for name, value in there.items() if name.endswith("_URL")}

    answer = lab.apply(**places, **{name: there[name] for name in names})

    assert answer.code == 0, answer.err
    record = next(lab.folder.glob("results/exp/*/*/record.json")).read_text()
    assert account.token not in "".join(path.read_text() for path in lab.folder.glob("results/**/*.json"))
    assert f"{account.url.removeprefix('http://')}/{account.project}" in record


def test_the_token_of_ovh_runs_a_connection_of_that_variant(lab: Lab) -> None:
    lab.write("qrun.toml", f'project = "{PROJECT}"\n[connections.ovh]\ntype = "pasqal"\nvariant = "ovh"\n')
    lab.job("ovh")

    answer = lab.apply("--not-sent-elsewhere", **lab.variables)  # nobody can look there

    assert answer.code == 0, answer.err


def test_half_a_set_of_credentials_sends_nothing_and_names_the_other_half(lab: Lab, account: Cloud) -> None:
    lab.job()
    there = lab.variables
    before = account.asked("POST /oauth/token")

    answer = lab.apply(**{name: value for name, value in there.items() if name.endswith(("_URL", "_USERNAME"))})

    assert answer.code == 78
    words = "PASQAL_USERNAME: is set without PASQAL_PASSWORD; set PASQAL_PASSWORD, or unset PASQAL_USERNAME"
    assert words in answer.err
    assert (account.books()["batches"], account.asked("POST /oauth/token")) == ([], before)


def test_a_projects_own_address_gets_no_credential_of_the_variables(lab: Lab, account: Cloud) -> None:
    """The project's file leads to the stand-in; the variables are for the cloud itself."""
    lines = f'core_url = "{account.core}"\ntoken_url = "{account.token_url}"\nproject_id = "{account.project}"\n'
    lab.write("qrun.toml", f'project = "{PROJECT}"\n[connections.fresnel]\ntype = "pasqal"\n{lines}')
    lab.job("fresnel")
    secrets = {name: value for name, value in lab.variables.items() if not name.endswith("_URL")}
    before = account.asked("POST /oauth/token")

    answer = lab.apply(**secrets)

    assert (answer.code, account.books()["batches"], account.asked("POST /oauth/token")) == (78, [], before)
    assert 'qrun.toml:2:2: connections.fresnel: "fresnel" has no credentials, and those of ' in answer.err
    assert account.token not in answer.err


def test_plan_needs_no_variable_and_compares_without_the_site(lab: Lab) -> None:
    lab.job()
    lab.apply(**lab.variables)

    answer = lab.run("plan", "--detailed-exitcode")

    told = 'no address of "pasqal" is known here, so its jobs are compared without it\n'
    assert (answer.code, answer.out, answer.err) == (0, "1 done\n", told)


def test_doctor_says_which_variables_count(lab: Lab, account: Cloud) -> None:
    answer = lab.run("doctor", env=lab.variables)

    (line,) = [line for line in answer.out.splitlines() if re.match(r".. +pasqal ", line)]
    assert line.endswith(
        f"connection to {account.url.removeprefix('http://')}/{account.project}, by PASQAL_CORE_URL, "
        "PASQAL_ACCOUNT_URL, PASQAL_TOKEN_URL, PASQAL_CLIENT_ID, PASQAL_CLIENT_SECRET and PASQAL_PROJECT_ID"
    )
