"""Settings: two files and the environment become one value, and what a project may not decide stays with the user."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from referencing import Registry

from qrun.budget import Budget
from qrun.errors import SettingsError
from qrun.settings import HOSTS, Secret, Settings, Source, Walk, project_schema, resolve, settings, user_file
from tests.place import Place

ID = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"
INSTEAD = 'write { env = "QRUN_…" } with the name of a variable, or give the connection in your own settings'
OWN = "give the connection in your own settings"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.chdir(made.root)
    return made


# --- the root ---------------------------------------------------------------------------------------------------------


def test_without_anything_the_root_is_the_manifests_folder(place: Place) -> None:
    assert place.read() == Settings(root=str(place.specs))


def test_a_repository_is_the_root_where_there_is_no_settings_file(place: Place) -> None:
    (place.root / ".git").mkdir()

    assert place.read().root == str(place.root)


def test_the_nearest_settings_file_upwards_makes_the_root(place: Place) -> None:
    place.project(f'project = "{ID}"')
    (place.root / "specs/.git").mkdir()

    found = place.read()

    assert (found.root, found.file, found.project) == (str(place.root), str(place.root / "qrun.toml"), ID)


def test_a_manifests_path_serves_as_well_as_its_folder(place: Place) -> None:
    place.project(f'project = "{ID.upper()}"')
    (place.specs / "a.yaml").write_text("")

    found = settings(str(place.specs / "a.yaml"), {"HOME": str(place.home)})

    assert (found.root, found.project) == (str(place.root), ID)


# --- both files -------------------------------------------------------------------------------------------------------


def test_a_connection_has_its_type_its_site_and_its_own_keys(place: Place) -> None:
    place.project(
        """
        [connections.fresnel]
        type = "pasqal"
        project_id = "AB"
        username = { env = "PASQAL_USERNAME" }
        password = { env = "PASQAL_PASSWORD" }
        max_live = 5
        [connections.sim]
        type = "local"
        workers = 2
        memory = "4 GiB"
        """
    )

    found = place.read().connections

    assert list(found) == ["fresnel", "sim"]
    assert (found["sim"].provider, found["sim"].site) == ("local", None)
    assert dict(found["sim"].settings) == {"workers": 2, "memory": "4 GiB"}
    assert (found["fresnel"].provider, found["fresnel"].site) == ("pasqal", "apis.pasqal.cloud/AB")
    assert found["fresnel"].settings["max_live"] == 5
    assert found["fresnel"].settings["password"] == Source(
        kind="env", name="PASQAL_PASSWORD", file="qrun.toml", field="connections.fresnel.password"
    )


@pytest.mark.parametrize(
    ("lines", "site"),
    [
        ('type = "iqm"\nurl = "https://cocos.resonance.meetiqm.com/garnet"', "resonance.meetiqm.com"),
        ('type = "iqm"\nurl = "https://RESONANCE.iqm.tech:443/garnet"', "resonance.iqm.tech"),
        ('type = "iqm"', None),
        ('type = "oqtopus"\nurl = "http://127.0.0.1:8080"', "127.0.0.1:8080"),
        ('type = "oqtopus"\nurl = "http://[::1]:80/x"', "[::1]"),
        ('type = "oqtopus"\nsection = "default"', None),
        ('type = "pasqal"\nregion = "sa"\nproject_id = "p"', "apis.sa.pasqal.cloud/p"),
        ('type = "pasqal"\nproject_id = "p"\nsite = "Old.example.org"', "old.example.org/p"),
        ('type = "qhub"\norganization_id = "o"', "api.hub.kipu-quantum.com/o"),
    ],
)
def test_the_site_is_the_host_with_project_and_organization(place: Place, lines: str, site: str | None) -> None:
    place.project(f"[connections.c]\n{lines}\n")

    assert place.read().connections["c"].site == site


def test_the_users_connection_replaces_the_projects_of_the_same_name_whole(place: Place) -> None:
    place.project('[connections.a]\ntype = "local"\nworkers = 2\nmemory = "1 GiB"\n[connections.b]\ntype = "local"\n')
    place.user('[connections.a]\ntype = "oqtopus"\nurl = "https://quantum.example.org"\napi_token = "abcdef.123456"\n')

    found = place.read().connections

    assert [(name, one.provider) for name, one in found.items()] == [("a", "oqtopus"), ("b", "local")]
    assert set(found["a"].settings) == {"url", "api_token"}


def test_of_two_budgets_the_smaller_wins_limit_by_limit(place: Place) -> None:
    place.project("[budget]\nmax_jobs = 500\nmax_shots = 10\nallow_unknown_cost = true\n")
    assert place.read().budget == Budget(max_jobs=500, max_shots=10, allow_unknown_cost=True)

    place.user("[budget]\nmax_jobs = 20\nmax_shots = 1000\ntotal_cost = 1.5\n")
    assert place.read().budget == Budget(max_jobs=20, max_shots=10, total_cost=1.5)


def test_the_user_decides_on_journal_publish_and_trusted_hosts_and_the_environment_stands_above(place: Place) -> None:
    place.user('journal = "~/j"\npublish = ["git", "push"]\ntrusted_hosts = ["One.example.org"]\n')

    found = place.read()
    assert (found.journal, found.publish) == (str(place.home / "j"), ("git", "push"))
    assert found.trusted_hosts == {"one.example.org"}

    found = place.read(QRUN_JOURNAL="/j", QRUN_PUBLISH="sh -c 'a b'", QRUN_TRUSTED_HOSTS="two.org, Three.org:8443")
    assert (found.journal, found.publish) == ("/j", ("sh", "-c", "a b"))
    assert found.trusted_hosts == {"one.example.org", "two.org", "three.org:8443"}


def test_the_users_file_is_found_where_the_desktop_says(place: Place) -> None:
    home = {"HOME": "/home/a"}

    assert user_file(home) == "/home/a/.config/qrun/config.toml"
    assert user_file({**home, "XDG_CONFIG_HOME": "/etc/xdg"}) == "/etc/xdg/qrun/config.toml"
    assert user_file({**home, "XDG_CONFIG_HOME": "relative"}) == "/home/a/.config/qrun/config.toml"


def test_a_superseded_rule_is_the_projects(place: Place) -> None:
    place.project('superseded = "cancel"\n')

    assert place.read().superseded == "cancel"


def test_a_file_with_secrets_that_others_can_read_is_warned_of(place: Place) -> None:
    text = '[connections.a]\ntype = "iqm"\ntoken = "abcdef123456"\n'
    place.user(text, 0o640)
    (warning,) = place.read().warnings

    assert str(warning) == (
        "~/.config/qrun/config.toml: holds secrets and has the mode 0640, so others may read them; "
        'run "chmod 600 ~/.config/qrun/config.toml"'
    )
    place.user(text, 0o600)
    assert place.read().warnings == ()
    place.user('[connections.a]\ntype = "iqm"\ntoken = { env = "T" }\n', 0o644)
    assert place.read().warnings == ()


# --- problems ---------------------------------------------------------------------------------------------------------


def test_all_problems_of_both_files_are_told_together_with_their_places(place: Place) -> None:
    place.project(
        'project = "5f0c"\n'
        "colour = 3\n"
        "[connections.sim]\n"
        'type = "local"\n'
        "  wrokers = 2\n"
        'memory = "much"\n'
        "[connections.x]\n"
        'type = "pascal"\n'
        "[connections.y]\n"
        "workers = 1\n"
        '[connections."my own"]\n'
        'type = "local"\n'
        "[budget]\n"
        "max_jobs = -1\n"
        "max_shots = 2.5\n"
        'allow_unknown_cost = "yes"\n'
    )
    place.user("publish = []\n")

    assert place.problems(QRUN_JOURNAL="here", QRUN_PUBLISH="'") == [
        'QRUN_JOURNAL: "here" is not an absolute path; begin it with / or ~/',
        "QRUN_PUBLISH: is not a command: no closing quotation; quote it as a shell would",
        'qrun.toml:1:1: project: "5f0c" is not an id as `qrun init` makes it: 32 hexadecimal digits with four dashes',
        "qrun.toml:2:1: colour: is not a field of qrun.toml; there are budget, connections, project, superseded",
        'qrun.toml:5:3: connections.sim.wrokers: is not a field of a connection of type local; did you mean "workers"?',
        'qrun.toml:6:1: connections.sim.memory: "much" is not a size such as "8 GiB"',
        'qrun.toml:8:1: connections.x.type: "pascal" is not a type of connection; did you mean "pasqal"?',
        'qrun.toml:9:2: connections.y: "type" is missing; there are iqm, local, oqtopus, pasqal, qhub',
        'qrun.toml:11:2: connections.my own: "my own" is not a name of letters, digits, ".", "_" and "-", at most 64',
        "qrun.toml:14:1: budget.max_jobs: -1 is not a whole number, 0 or more",
        "qrun.toml:15:1: budget.max_shots: 2.5 is not a whole number, 0 or more",
        'qrun.toml:16:1: budget.allow_unknown_cost: "yes" is not true or false',
        "~/.config/qrun/config.toml:1:1: publish: is empty; a list of the command and its arguments is needed",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a = \n", "qrun.toml:1:5: is not TOML: invalid value"),
        (b"a = 1\na = 2\n", "qrun.toml:2:6: is not TOML: cannot overwrite a value"),
        (b"a = '", 'qrun.toml:1: is not TOML: expected """ (at end of document'),
        (b"a = 1\nb = \xff\n", "qrun.toml:2: is not UTF-8: byte 0xff; save it as UTF-8"),
        (b"\x00", None),
        (b"a = " + b"[" * 5000, None),
        (b"a = " + b"9" * 5000, None),
        (b"#" * (2 << 20), "qrun.toml: cannot be read: it is larger than 1024 KiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem(place: Place, content: bytes, message: str | None) -> None:
    (place.root / "qrun.toml").write_bytes(content)

    (problem,) = place.problems()

    assert problem.startswith("qrun.toml")
    if message is not None and "end of document" not in message:
        assert problem == message


def test_an_empty_file_a_byte_order_mark_and_carriage_returns_are_fine(place: Place) -> None:
    place.project("")
    assert place.read().project is None

    (place.root / "qrun.toml").write_bytes(b'\xef\xbb\xbfproject = "' + ID.encode() + b'"\r\n')
    assert place.read().project == ID


@pytest.mark.parametrize("kind", ["folder", "pipe", "nowhere"])
def test_what_is_no_file_is_one_problem_and_nothing_hangs(place: Place, kind: str) -> None:
    path = place.root / "qrun.toml"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case _:
            path.symlink_to("missing.toml")

    messages = {
        "folder": ["qrun.toml: cannot be read: it is not a file", "qrun.toml: cannot be read: is a directory"],
        "pipe": ["qrun.toml: cannot be read: it is not a file"],
        "nowhere": ["qrun.toml: cannot be read: no such file or directory"],
    }
    assert place.problems()[0] in messages[kind]


def test_a_settings_file_that_is_a_link_to_elsewhere_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('project = "secret"\n')
    (place.root / "qrun.toml").symlink_to(tmp_path / "other.toml")

    assert place.problems() == ["qrun.toml: is a link out of its folder; put the file itself here"]


def test_a_key_in_several_lines_of_text_is_not_taken_for_the_place(place: Place) -> None:
    place.project('superseded = """\nproject = 1\n"""\n[budget]\nproject = 1\n\n[connections]\n"a b".type = "local"\n')

    assert place.problems() == [
        'qrun.toml:1:1: superseded: "project = 1\\n" is not one of "keep", "cancel"',
        "qrun.toml:5:1: budget.project: is not a field of a budget; there are allow_unknown_cost, max_cost, max_jobs, "
        "max_shots, total_cost, total_jobs, total_shots",
        'qrun.toml:8:1: connections.a b: "a b" is not a name of letters, digits, ".", "_" and "-", at most 64',
    ]


# --- trust ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example.org",
        "https://apis.pasqal.cloud.evil.org",
        "https://evil-apis.pasqal.cloud",
        "https://127.0.0.1.evil.org",
        "https://localhost.evil.org",
        "https://127.1",
        "https://2130706433",
        "https://0.0.0.0",
        "https://169.254.169.254/latest",
        "https://apis.pasqal.cloud.",
        "https://resonance.iqm.tech",
    ],
)
def test_a_project_may_not_name_another_host_than_the_providers(place: Place, address: str) -> None:
    place.project(f'[connections.c]\ntype = "pasqal"\ncore_url = "{address}"\n')
    host = address.split("/")[2]

    assert place.problems() == [
        f'qrun.toml:3:1: connections.c.core_url: "{host}" is not a known host; those of pasqal are apis.pasqal.cloud, '
        "apis.sa.pasqal.cloud, auth.sa.pasqal.cloud, authenticate.pasqal.cloud, pasqal.eu.auth0.com; else "
        f"{OWN}, or name the host in QRUN_TRUSTED_HOSTS"
    ]


@pytest.mark.parametrize(
    "address",
    [
        "https://apis.pasqal.cloud@evil.org",
        "https://me:pw@apis.pasqal.cloud",
        "https://apis.pasqal.cloud\\\\@evil.org",
        "https://evil.org\\n",
        "https://apis.pasqal.cloud\\t.evil.org",
        "https:/evil.org",
        "//evil.org",
        "ftp://apis.pasqal.cloud",
        "HTTPS://evil.org",
        "https://evil.org?x=https://apis.pasqal.cloud",
        "https://evil.org#@apis.pasqal.cloud",
        "https://аpis.pasqal.cloud",
        "",
    ],
)
def test_an_address_that_others_may_read_otherwise_is_refused(place: Place, address: str) -> None:
    place.project(f'[connections.c]\ntype = "pasqal"\ncore_url = "{address}"\n')

    (problem,) = place.problems()

    assert problem.endswith('is not an address such as "https://example.org/path"')
    assert "me:pw" not in problem


@pytest.mark.parametrize(
    "address",
    [
        "https://apis.pasqal.cloud/core-fast",
        "https://APIS.sa.pasqal.cloud:443/core-fast",
        "http://127.0.0.1:8080/x",
        "http://127.8.9.10",
        "http://localhost:1",
        "http://[::1]:80",
    ],
)
def test_known_hosts_and_this_machine_are_fine(place: Place, address: str) -> None:
    place.project(f'[connections.c]\ntype = "pasqal"\ncore_url = "{address}"\n')

    assert place.read().connections["c"].settings["core_url"] == address


def test_every_address_of_a_connection_is_looked_at(place: Place) -> None:
    place.project(
        '[connections.p]\ntype = "pasqal"\naccount_url = "https://e.org"\ntoken_url = "https://e.org"\n'
        '[connections.o]\ntype = "oqtopus"\nurl = "https://e.org"\nproxy = "http://e.org:3128"\n'
        '[connections.q]\ntype = "qhub"\ntoken_url = "https://e.org"\nplatform_url = "https://e.org"\n'
        'quantum_url = "https://e.org"\nservices = { a = "https://e.org/a", b = "http://localhost" }\n'
        '[connections.i]\ntype = "iqm"\nurl = "https://e.org"\n'
    )

    found = [problem.split(": ")[1] for problem in place.problems()]

    assert found == [
        "connections.p.account_url",
        "connections.p.token_url",
        "connections.o.url",
        "connections.o.proxy",
        "connections.q.token_url",
        "connections.q.platform_url",
        "connections.q.quantum_url",
        "connections.q.services.a",
        "connections.i.url",
    ]


def test_a_host_that_the_user_trusts_may_be_named_by_the_project(place: Place) -> None:
    place.project('[connections.c]\ntype = "oqtopus"\nurl = "https://quantum.example.org:8443/v1"\n')
    problem = (
        'qrun.toml:3:1: connections.c.url: "quantum.example.org" is not a known host; oqtopus has none; '
        f"{OWN}, or name the host in QRUN_TRUSTED_HOSTS"
    )

    assert place.problems() == [problem]
    assert place.problems(QRUN_TRUSTED_HOSTS="example.org quantum.example.org:443") == [problem]
    assert place.read(QRUN_TRUSTED_HOSTS="quantum.example.org").connections["c"].site == "quantum.example.org:8443"
    assert place.read(QRUN_TRUSTED_HOSTS="Quantum.example.org:8443").connections["c"]
    place.user('trusted_hosts = ["quantum.example.org"]\n')
    assert place.read().connections["c"]


def test_the_users_own_file_may_name_any_host_but_not_over_plain_http(place: Place) -> None:
    place.user('[connections.c]\ntype = "oqtopus"\nurl = "https://any.example.org"\nproxy = "http://proxy:3128"\n')
    assert place.read().connections["c"].site == "any.example.org"

    place.user('[connections.c]\ntype = "oqtopus"\nurl = "http://any.example.org"\n')
    assert place.problems() == [
        '~/.config/qrun/config.toml:3:1: connections.c.url: "any.example.org" may only be reached over https; '
        "write https://"
    ]


@pytest.mark.parametrize("name", ["OQTOPUS_X", "PASQAL_X", "IQM_X", "KQH_X", "PLANQK_X", "QRUN_X"])
def test_a_project_may_read_variables_that_are_meant_for_providers(place: Place, name: str) -> None:
    place.project(f'[connections.c]\ntype = "iqm"\ntoken = {{ env = "{name}" }}\n')

    source = place.read().connections["c"].settings["token"]
    assert resolve(source, {name: "abc"}).reveal() == "abc"


@pytest.mark.parametrize("name", ["HOME", "AWS_SECRET_ACCESS_KEY", "MY_QRUN_X", "pasqal_x", "IQM", "QRUN_X\\n", ""])
def test_a_project_may_read_no_other_variable(place: Place, name: str) -> None:
    place.project(f'[connections.c]\ntype = "iqm"\ntoken = {{ env = "{name}" }}\n')

    assert place.problems() == [
        f'qrun.toml:3:1: connections.c.token.env: "{name}" is not a variable that begins with OQTOPUS_, PASQAL_, IQM_, '
        "KQH_, PLANQK_ or QRUN_"
    ]


@pytest.mark.parametrize(
    ("value", "place_of", "message"),
    [
        ('{ command = ["cat", "/etc/passwd"] }', ".command", '"command" may not stand in this file'),
        ('{ file = "/etc/passwd" }', ".file", '"file" may not stand in this file'),
        ('{ keyring = "a", service = "b" }', ".service", '"service" may not stand in this file'),
        ('"hunter2hunter2"', "", "a secret may not stand in this file"),
        ("12345678", "", "is not where a secret comes from"),
        ('{ env = "IQM_A", keyring = "b" }', "", "is not one source of a secret"),
        ("{ }", "", "is not one source of a secret"),
    ],
)
def test_a_projects_secrets_come_from_variables_and_our_keyring_only(
    place: Place, value: str, place_of: str, message: str
) -> None:
    place.project(f'[connections.c]\ntype = "iqm"\ntoken = {value}\n')

    assert place.problems() == [f"qrun.toml:3:1: connections.c.token{place_of}: {message}; {INSTEAD}"]


def test_a_project_may_not_name_files_outside_of_it(place: Place) -> None:
    place.project(
        '[connections.i]\ntype = "iqm"\ntokens_file = "/etc/passwd"\n'
        '[connections.o]\ntype = "oqtopus"\nconfig_file = "../x"\n'
    )

    assert place.problems() == [
        f'qrun.toml:3:1: connections.i.tokens_file: "tokens_file" may not stand in this file; {OWN}',
        f'qrun.toml:6:1: connections.o.config_file: "config_file" may not stand in this file; {OWN}',
    ]


def test_what_is_the_users_is_no_field_of_the_projects_file(place: Place) -> None:
    place.project('publish = ["rm"]\njournal = "/tmp"\ntrusted_hosts = ["evil.org"]\n')
    there = "is not a field of qrun.toml; there are budget, connections, project, superseded"

    assert place.problems() == [
        f"qrun.toml:1:1: publish: {there}",
        f"qrun.toml:2:1: journal: {there}",
        f"qrun.toml:3:1: trusted_hosts: {there}",
    ]


def test_a_connection_may_not_take_the_name_of_another_type(place: Place) -> None:
    place.project('[connections.local]\ntype = "pasqal"\n[connections.iqm]\ntype = "iqm"\n')

    assert place.problems() == [
        'qrun.toml:1:2: connections.local: "local" is the name of another type of connection; '
        'give it another name, or type = "local"'
    ]


# --- secrets ----------------------------------------------------------------------------------------------------------


def token(place: Place, value: str) -> Source:
    place.user(f'[connections.c]\ntype = "iqm"\ntoken = {value}\n')
    found = place.read().connections["c"].settings["token"]
    assert isinstance(found, Source)
    return found


def failure(source: Source, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(SettingsError) as error:
        resolve(source, environ or {})
    return str(error.value)


WHERE = "~/.config/qrun/config.toml: connections.c.token: "


def test_a_secret_shows_itself_only_when_asked(place: Place) -> None:
    place.user('[connections.c]\ntype = "iqm"\ntoken = "hunter2hunter2"\n')

    found = place.read()
    secret = resolve(found.connections["c"].settings["token"], {})

    assert secret.reveal() == "hunter2hunter2"
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr(found), repr([secret])):
        assert "hunter2" not in text
    assert "hunter2" not in repr(found.connections["c"].settings)
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps(secret)


def test_secrets_are_fetched_when_asked_for_and_not_with_the_settings(place: Place) -> None:
    marker = place.home / "ran"
    source = token(place, f'{{ command = ["sh", "-c", "touch {marker}; echo abc"] }}')
    assert not marker.exists()

    assert resolve(source, {}).reveal() == "abc"
    assert marker.exists()


def test_a_variable_that_is_not_set_is_named(place: Place) -> None:
    source = token(place, '{ env = "MY_TOKEN" }')

    assert resolve(source, {"MY_TOKEN": "abc"}).reveal() == "abc"
    assert failure(source) == WHERE + 'the variable "MY_TOKEN" is not set'
    assert failure(source, {"MY_TOKEN": ""}) == WHERE + 'the variable "MY_TOKEN" is not set'


def test_a_secrets_file_is_read_only_where_it_is_private(place: Place) -> None:
    path = place.own.parent / "token"
    path.write_text("abc\n")
    source = token(place, '{ file = "token" }')

    path.chmod(0o600)
    assert resolve(source, {}).reveal() == "abc"
    path.chmod(0o644)
    assert failure(source) == f'{WHERE}"{path}" has the mode 0644, so others may read it; run "chmod 600 {path}"'
    path.unlink()
    assert failure(source) == f'{WHERE}"{path}" cannot be read: no such file or directory'


def test_a_command_that_fails_or_prints_nothing_is_named_without_what_it_printed(place: Place) -> None:
    failing = token(place, '{ command = ["sh", "-c", "echo hunter2; exit 3"] }')
    silent = token(place, '{ command = ["true"] }')
    missing = token(place, '{ command = ["no-such-command-here"] }')

    assert failure(failing) == WHERE + 'the command "sh" ended with code 3'
    assert failure(silent) == WHERE + 'the command "true" printed nothing'
    assert failure(missing) == WHERE + 'the command "no-such-command-here" cannot be run: no such file or directory'


def test_a_secret_is_equal_to_nothing_but_itself() -> None:
    one = Secret("abc")

    assert one == one
    assert one != Secret("abd")


# --- the schema -------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.one_of(
        st.none().map(lambda _: False),
        st.booleans(),
        st.integers(-3, 2_000_000),
        st.floats(-2, 2000).filter(lambda x: not x.is_integer()),
        st.sampled_from(
            [ID, "keep", "fr", "ovh", "auto", "8 GiB", "x", "", "a b", "https://a.org/b", "http://[::1]:80"]
        ),
        st.sampled_from([{"env": "IQM_A"}, {"env": "HOME"}, {"keyring": "a"}, {"file": "a"}, {}, {"env": 1}]),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b c"]), inner, max_size=2),
    max_leaves=3,
)
KEYS = sorted({key for kind in HOSTS for key in project_schema()["$defs"][kind]["properties"]} - {"type"})
connection = st.builds(
    lambda kind, rest: {**kind, **rest},
    st.sampled_from([{}, {"type": 3}, {"type": "x"}, *({"type": kind} for kind in HOSTS)]),
    st.dictionaries(st.sampled_from([*KEYS, "workrs"]), values, max_size=3),
)
tables = st.fixed_dictionaries(
    {},
    optional={
        "project": values,
        "superseded": values,
        "connections": st.dictionaries(st.sampled_from(["a", "b.c", "d e", ""]), connection, max_size=2) | values,
        "budget": st.dictionaries(
            st.sampled_from([*project_schema()["$defs"]["budget"]["properties"], "max_job"]), values, max_size=3
        ),
        "other": values,
    },
)


@effort(max_examples=300, deadline=None)
@given(tables)
def test_our_verdict_is_that_of_the_published_schema(table: dict[str, Any]) -> None:
    registry: Registry[Any] = Registry()
    judge = jsonschema.Draft202012Validator(project_schema(), registry=registry)

    ours = list(Walk(project_schema(), own=False).verdicts(project_schema(), table, ()))

    assert (not ours) == judge.is_valid(table), (ours, [error.message for error in judge.iter_errors(table)])


def test_the_schema_is_one_and_each_of_its_fields_is_described() -> None:
    whole = project_schema()
    jsonschema.Draft202012Validator.check_schema(whole)

    for owner in (whole, *(whole["$defs"][kind] for kind in (*HOSTS, "budget"))):
        for name, field in owner["properties"].items():
            about = field if "description" in field else whole["$defs"][field["$ref"].rpartition("/")[2]]
            assert about.get("description"), name


def test_reading_the_settings_loads_no_heavy_library(place: Place) -> None:
    place.project(f'project = "{ID}"\n[connections.sim]\ntype = "local"\n')
    script = (
        "import sys\n"
        "from qrun.settings import settings\n"
        "assert settings('.').project\n"
        "heavy = {'jsonschema', 'referencing', 'yaml', 'platformdirs', 'subprocess', 'asyncio', 'httpx', 'difflib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    environ = {"HOME": str(place.home), "PYTHONPATH": str(Path(__file__).parent.parent)}

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place.specs, env=environ, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
