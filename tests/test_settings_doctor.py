"""`qrun doctor` shows where each connection leads, who says so, and what one lacks; never a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.desk import Answer, Desk

TOKEN = "some-id.some-secret-0123456"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "OQTOPUS_URL", "OQTOPUS_API_TOKEN", "OQTOPUS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield desk


def connections(answer: Answer) -> list[str]:
    return [line for line in answer.out.splitlines() if line.split()[1] in ("lab", "oqtopus")]


def test_a_convention_that_nobody_follows_is_not_told(desk: Desk) -> None:
    assert connections(desk.run("doctor")) == []


def test_variables_a_file_and_the_proxy_are_named_without_what_is_secret_in_them(desk: Desk) -> None:
    desk.write("qrun.toml", '[connections.lab]\ntype = "oqtopus"\nsection = "work"\n')
    desk.write(".oqtopus", f"[work]\nurl = https://Work.example.org\napi_token = {TOKEN}\n").chmod(0o600)
    proxy = {"OQTOPUS_PROXY": "http://me:hunter2@proxy:3128"}

    answer = desk.run("doctor", env={"OQTOPUS_URL": "https://env.example.org", "OQTOPUS_API_TOKEN": TOKEN, **proxy})

    assert connections(answer) == [
        'ok  lab            connection to work.example.org, by section "work" of ~/.oqtopus, '
        "through a proxy with a password",
        "ok  oqtopus        connection to env.example.org, by OQTOPUS_URL and OQTOPUS_API_TOKEN, "
        "through a proxy with a password",
    ]
    assert "some-secret" not in answer.out + answer.err
    assert "hunter2" not in answer.out + answer.err


def test_a_file_that_others_may_read_is_something_to_do(desk: Desk) -> None:
    desk.write(".oqtopus", f"[default]\nurl = https://file.example.org\napi_token = {TOKEN}\n").chmod(0o644)

    answer = desk.run("doctor", env={"HTTPS_PROXY": "any:3128"})

    assert answer.code == 78
    assert connections(answer) == [
        '!!  oqtopus        connection to file.example.org, by section "default" of ~/.oqtopus, through the proxy '
        '"http://any:3128"; ~/.oqtopus: holds secrets and has the mode 0644, so others may read them; run "chmod 600 '
        '~/.oqtopus"'
    ]


def test_what_a_connection_lacks_is_something_to_do(desk: Desk) -> None:
    desk.write("qrun.toml", '[connections.lab]\ntype = "oqtopus"\nsection = "work"\n')
    desk.write(".oqtopus", "[home]\n").chmod(0o600)

    answer = desk.run("doctor")

    assert connections(answer) == [
        '!!  lab            no connection: ~/.oqtopus: has no section "work"; it has "home"',
        '!!  oqtopus        no connection: ~/.oqtopus: has no section "default"; it has "home"',
    ]
