"""Connections by convention: the variables and files of a provider's own programs, for whom their token is, proxies."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qrun import settings as package
from qrun.connection import Access, Connection
from qrun.errors import Problem, SettingsError
from qrun.settings import Source, Ways, usable
from qrun.settings.proxies import proxy_for
from tests.desk import PROJECT, Desk
from tests.place import Place

BOTH = {"OQTOPUS_URL": "https://env.example.org/api", "OQTOPUS_API_TOKEN": "env-id.env-secret-0123456"}
FILE = "[default]\nurl = https://file.example.org\napi_token = file-id.file-secret-0123456\n"
WORK = "[work]\nURL = https://Work.example.org:8443/\napi_token=work-id.work%%secret-01\nproxy = http://proxy:3128\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.chdir(made.root)
    return made


def used(place: Place, name: str = "oqtopus", **environ: str) -> dict[str, Any]:
    """What the provider would work with: its settings, the site, and every secret revealed."""
    found = place.read(**environ)
    access = package.access(found, lambda _: None, {"HOME": str(place.home), **environ})
    connection = usable(found.connections, name, access)
    shown = {k: access.reveal(v) if isinstance(v, Source) else v for k, v in connection.settings.items()}
    return {**shown, "site": connection.site}


def refusal(place: Place, name: str = "oqtopus", **environ: str) -> str:
    """Why it cannot be used, told only then: the settings and the connection itself are there all the same."""
    found = place.read(**environ)
    assert found.connections[name].provider == "oqtopus"
    with pytest.raises(SettingsError) as error:
        usable(found.connections, name, Access())
    return str(error.value)


# --- precedence -------------------------------------------------------------------------------------------------------


def test_both_variables_stand_above_the_file(place: Place) -> None:
    place.write(".oqtopus", FILE)

    assert used(place, **BOTH) == {
        "url": "https://env.example.org/api",
        "api_token": "env-id.env-secret-0123456",
        "site": "env.example.org",
    }


@pytest.mark.parametrize("name", BOTH)
def test_one_variable_alone_does_not_count(place: Place, name: str) -> None:
    place.write(".oqtopus", FILE)

    assert used(place, **{name: BOTH[name]})["url"] == "https://file.example.org"


def test_the_default_section_serves_a_type_without_any_connection(place: Place) -> None:
    place.write(".oqtopus", WORK + FILE)

    assert used(place) == {
        "url": "https://file.example.org",
        "api_token": "file-id.file-secret-0123456",
        "site": "file.example.org",
    }


def test_a_named_section_stands_above_the_variables_and_is_taken_as_it_is_written(place: Place) -> None:
    place.write(".oqtopus", FILE + WORK)
    place.project('[connections.lab]\ntype = "oqtopus"\nsection = "work"\n')

    assert used(place, "lab", **BOTH) == {
        "url": "https://Work.example.org:8443/",
        "api_token": "work-id.work%%secret-01",
        "proxy": "http://proxy:3128",
        "site": "work.example.org:8443",
    }


def test_a_connection_that_says_nothing_follows_the_convention(place: Place) -> None:
    place.project('[connections.lab]\ntype = "oqtopus"\nmax_live = 3\n')

    found = used(place, "lab", **BOTH)

    assert (found["url"], found["max_live"], found["site"]) == (BOTH["OQTOPUS_URL"], 3, "env.example.org")


def test_a_connection_that_says_all_reads_no_file(place: Place) -> None:
    place.write(".oqtopus", "this is no INI file")
    place.user('[connections.lab]\ntype = "oqtopus"\nurl = "https://own.example.org"\napi_token = "own.0123456789"\n')

    assert used(place, "lab", **BOTH) == {
        "url": "https://own.example.org",
        "api_token": "own.0123456789",
        "site": "own.example.org",
    }


@pytest.mark.parametrize(
    ("path", "environ"),
    [
        ("~/clouds.ini", {}),
        ("$CLOUDS/clouds.ini", {"CLOUDS": "~"}),
        ("${CLOUDS}/clouds.ini", {"CLOUDS": "~"}),
        ("../../clouds.ini", {}),
    ],
)
def test_another_file_may_be_named_with_variables_and_beside_the_settings(
    place: Place, path: str, environ: dict[str, str]
) -> None:
    place.write("clouds.ini", WORK)
    place.user(f'[connections.lab]\ntype = "oqtopus"\nsection = "work"\nconfig_file = "{path}"\n')

    assert used(place, "lab", **BOTH, **environ)["site"] == "work.example.org:8443"


def test_a_named_file_without_a_section_means_its_default(place: Place) -> None:
    place.write("clouds.ini", FILE)
    place.user('[connections.lab]\ntype = "oqtopus"\nconfig_file = "~/clouds.ini"\n')

    assert used(place, "lab", **BOTH)["site"] == "file.example.org"


def test_the_other_clients_file_is_the_last_one_looked_for(place: Place, tmp_path: Path) -> None:
    client = FILE.replace("url", "base_url")
    place.write(".config/oqtopus/config.ini", client)
    assert used(place)["site"] == "file.example.org"

    place.write("xdg/oqtopus/config.ini", client.replace("file.", "xdg."))
    assert used(place, XDG_CONFIG_HOME=str(place.home / "xdg"))["site"] == "xdg.example.org"
    assert "oqtopus" in refusal(place, XDG_CONFIG_HOME=str(tmp_path / "empty"))

    place.write(".oqtopus", WORK + FILE.replace("file.", "first."))
    assert used(place, XDG_CONFIG_HOME=str(place.home / "xdg"))["site"] == "first.example.org"


def test_the_site_key_keeps_the_results_where_the_address_has_changed(place: Place) -> None:
    place.project('[connections.lab]\ntype = "oqtopus"\nsite = "old.example.org"\n')

    assert used(place, "lab", **BOTH)["site"] == "old.example.org"


# --- what is missing --------------------------------------------------------------------------------------------------


def test_without_anything_plan_has_no_site_and_use_says_what_to_do(place: Place) -> None:
    assert place.read().connections["oqtopus"] == Connection(name="oqtopus", provider="oqtopus", settings={})

    assert refusal(place, OQTOPUS_URL="https://env.example.org") == (
        '"oqtopus" has no "url" and no "api_token"; set both OQTOPUS_URL and OQTOPUS_API_TOKEN, or write a section '
        '"default" into ~/.oqtopus'
    )


def test_a_connection_that_lacks_something_is_named_with_its_place(place: Place) -> None:
    place.user('[connections.lab]\ntype = "oqtopus"\nurl = "https://own.example.org"\n')

    assert refusal(place, "lab") == (
        '~/.config/qrun/config.toml:1:2: connections.lab: "lab" has no "api_token"; set both OQTOPUS_URL and '
        'OQTOPUS_API_TOKEN, or write a section "default" into ~/.oqtopus'
    )


def test_a_section_that_is_not_there_is_named_with_those_that_are(place: Place) -> None:
    place.write(".oqtopus", WORK + FILE)
    place.project('[connections.lab]\ntype = "oqtopus"\nsection = "home"\n')

    assert refusal(place, "lab") == '~/.oqtopus: has no section "home"; it has "work", "default"'
    place.write(".oqtopus", "")
    assert refusal(place, "lab") == '~/.oqtopus: has no section "home"; it has none at all'
    (place.home / ".oqtopus").unlink()
    assert refusal(place, "lab") == "~/.oqtopus: cannot be read: no such file or directory"


def test_a_key_that_is_not_there_is_named_and_what_is_there_counts(place: Place) -> None:
    place.write(".oqtopus", "[default]\nurl = https://file.example.org\napi_token =\n")

    assert refusal(place) == '~/.oqtopus: section "default" has no "api_token"; add it'
    assert place.read().connections["oqtopus"].site == "file.example.org"
    place.write(".oqtopus", "[default]\ntoken = x\n")
    assert refusal(place) == '~/.oqtopus: section "default" has no "url" and no "api_token"; add it'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"api_token = hunter2hunter2\n",
            "~/.oqtopus:1: is not INI: a line is malformed, or a section or a key stands",
        ),
        (b"[default]\nhunter2hunter2\n", "~/.oqtopus:2: is not INI: "),
        (b"[default]\nurl=a\nurl=hunter2hunter2\n", "~/.oqtopus:3: is not INI: "),
        (b"[default]\n[default]\n", "~/.oqtopus:2: is not INI: "),
        (b"[default]\nurl = \xff\n", "~/.oqtopus: is not UTF-8"),
        (b"#" * (2 << 20), "~/.oqtopus: cannot be read: it is larger than 1024 KiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_without_a_word_of_it(place: Place, content: bytes, told: str) -> None:
    (place.home / ".oqtopus").write_bytes(content)

    words = refusal(place)

    assert words.startswith(told)
    assert "hunter2" not in words


def test_a_pipe_in_place_of_the_file_hangs_nothing(place: Place) -> None:
    os.mkfifo(place.home / ".oqtopus")

    assert refusal(place) == "~/.oqtopus: cannot be read: it is not a file"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("quantum.example.org", 'is not an address such as "https://example.org/path"'),
        ("https://me:hunter2@quantum.example.org", 'what stands here is not an address such as "https://'),
        ("https://quantum.example.org?api_token=hunter2", "is not an address"),
        ("https://quantum.example.org:99999", "is not an address"),
        ("file:///etc/passwd", "is not an address"),
        ("http://quantum.example.org", '"quantum.example.org" may only be reached over https; write https://'),
    ],
)
def test_an_address_that_cannot_be_right_is_told_where_it_stands(place: Place, address: str, told: str) -> None:
    words = refusal(place, OQTOPUS_URL=address, OQTOPUS_API_TOKEN="a.b")
    assert words.startswith("OQTOPUS_URL: ")
    assert told in words
    assert place.read(OQTOPUS_URL=address, OQTOPUS_API_TOKEN="a.b").connections["oqtopus"].site is None

    place.write(".oqtopus", f"[default]\nurl = {address}\napi_token = a.b\n")
    assert refusal(place).startswith("~/.oqtopus: default.url: ")


# --- for whom a token is ----------------------------------------------------------------------------------------------


def test_a_projects_address_gets_no_token_that_is_for_another(place: Place) -> None:
    """A pull request may name a host on this machine, or one that the user trusts for something else."""
    place.project('[connections.lab]\ntype = "oqtopus"\nurl = "http://127.0.0.1:8080"\n')

    assert refusal(place, "lab", **BOTH) == (
        'qrun.toml:1:2: connections.lab: "lab" has no "api_token", and that of OQTOPUS_URL and OQTOPUS_API_TOKEN is '
        "for another host; say where its own is"
    )


@pytest.mark.parametrize(
    "other",
    [
        "https://env.example.org:8443",
        "http://env.example.org",
        "https://env.example.org.evil.example",
        "https://example.org",
    ],
)
def test_another_port_scheme_or_domain_is_another_host(place: Place, other: str) -> None:
    place.project(f'[connections.lab]\ntype = "oqtopus"\nurl = "{other}"\nsection = "default"\n')
    place.write(".oqtopus", FILE.replace("file.", "env."))
    environ = {"HOME": str(place.home), "QRUN_TRUSTED_HOSTS": other.rpartition("/")[2]}

    try:
        found = place.read(**environ)
    except SettingsError:
        assert other.startswith("http:")
        return

    assert "api_token" not in found.connections["lab"].settings
    assert found.connections.way("lab").problem is not None


def test_the_same_host_however_it_is_written_gets_the_token(place: Place) -> None:
    place.project('[connections.lab]\ntype = "oqtopus"\nurl = "https://ENV.example.org:443/v2"\n')

    found = used(place, "lab", QRUN_TRUSTED_HOSTS="env.example.org", **BOTH)

    assert (found["url"], found["api_token"]) == ("https://ENV.example.org:443/v2", BOTH["OQTOPUS_API_TOKEN"])


def test_a_projects_token_goes_to_the_users_address(place: Place) -> None:
    place.project('[connections.lab]\ntype = "oqtopus"\napi_token = { env = "QRUN_LAB" }\n')

    found = used(place, "lab", QRUN_LAB="lab.0123456789", **BOTH)

    assert (found["url"], found["api_token"]) == (BOTH["OQTOPUS_URL"], "lab.0123456789")


# --- late and lazily --------------------------------------------------------------------------------------------------


def test_a_token_is_read_when_it_is_asked_for(place: Place) -> None:
    place.write(".oqtopus", FILE)
    found = place.read()
    connection = found.connections["oqtopus"]
    place.write(".oqtopus", FILE.replace("0123456", "renewed"))

    access = package.access(found, lambda _: None, {})

    assert access.reveal(connection.settings["api_token"]) == "file-id.file-secret-renewed"
    assert "file-secret" not in repr(connection.settings)


def test_a_token_that_went_away_is_named(place: Place) -> None:
    path = place.write(".oqtopus", FILE)
    found = place.read()
    source = found.connections["oqtopus"].settings["api_token"]
    access = package.access(found, lambda _: None, {})

    path.write_text("[default]\n")
    with pytest.raises(SettingsError, match=r'^~/.oqtopus: default.api_token: section "default" has no "api_token"$'):
        access.reveal(source)
    path.unlink()
    with pytest.raises(SettingsError, match=r"^~/.oqtopus: cannot be read: no such file or directory$"):
        access.reveal(source)


def test_a_file_that_others_may_read_is_warned_of_once_when_a_token_is_taken_from_it(place: Place) -> None:
    place.write(".oqtopus", FILE, 0o644)
    found = place.read()
    told: list[Problem] = []
    access = package.access(found, told.append, {})
    source = found.connections["oqtopus"].settings["api_token"]
    assert told == []

    access.reveal(source)
    access.reveal(source)

    assert [str(problem) for problem in told] == [
        '~/.oqtopus: holds secrets and has the mode 0644, so others may read them; run "chmod 600 ~/.oqtopus"'
    ]


def test_what_a_provider_may_ask_for_includes_the_hosts_that_the_user_trusts(place: Place) -> None:
    found = place.read(QRUN_TRUSTED_HOSTS="one.example.org")

    assert package.access(found, lambda _: None).trusted_hosts == {"one.example.org"}


def test_nothing_by_convention_is_read_before_somebody_looks_at_a_connection(place: Place) -> None:
    place.project('[connections.lab]\ntype = "oqtopus"\n[connections.sim]\ntype = "local"\n')
    place.write(".oqtopus", FILE)
    script = (
        "import sys\n"
        "from qrun.settings import settings, usable\n"
        "found = settings('.').connections\n"
        "assert list(found) == ['lab', 'sim'] and found['sim'].provider == 'local' and found.get('local') is None\n"
        "list(found.signature())\n"
        "assert 'configparser' not in sys.modules\n"
        "assert found['lab'].site == 'file.example.org' and 'configparser' in sys.modules\n"
    )
    environ = {"HOME": str(place.home), "PYTHONPATH": str(Path(__file__).parent.parent)}

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=place.specs, env=environ, capture_output=True, text=True, check=False
    )

    assert done.stderr == ""


def test_applying_local_jobs_reads_nothing_by_convention(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("qrun.toml", f'project = "{PROJECT}"\n[connections.lab]\ntype = "oqtopus"\n')
    desk.write(".oqtopus", FILE)
    desk.bell()
    script = (
        "import sys\n"
        "from qrun.cli import cli\n"
        "try:\n    cli.main(sys.argv[1:], prog_name='qrun')\n"
        "finally:\n    assert 'configparser' not in sys.modules\n"
    )

    for words in (["plan"], ["apply"], ["apply"], ["status"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            cwd=desk.folder,
            env=desk.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr


def test_names_that_nobody_wrote_are_not_counted_and_unknown_ones_are_not_there(place: Place) -> None:
    found = place.read(**BOTH).connections

    assert (list(found), len(found), found.get("nobody"), found.get("local")) == ([], 0, None, None)
    assert "oqtopus" in found
    assert found.names() == ["oqtopus"]
    assert place.read().connections.names() == []


def test_the_signature_changes_with_what_the_connections_rest_on_and_holds_no_secret(place: Place) -> None:
    def signature(**environ: str) -> str:
        return repr(list(place.read(**environ).connections.signature()))

    empty = signature()
    assert signature() == empty
    assert len({empty, signature(**BOTH), signature(OQTOPUS_URL="https://a.example.org")}) == 3
    assert "env-secret" not in signature(**BOTH)
    assert signature(**{**BOTH, "OQTOPUS_API_TOKEN": "renewed.token"}) == signature(**BOTH)

    place.write(".oqtopus", FILE)
    with_file = signature()
    place.write(".oqtopus", FILE + "\n")
    assert len({empty, with_file, signature()}) == 3


def test_settings_without_any_connection_are_usable_for_what_needs_none() -> None:
    assert usable(Ways(), "local", Access()) == Connection(name="local", provider="local")
    assert usable({}, "memory", Access()) == Connection(name="memory", provider="memory")


# --- proxies ----------------------------------------------------------------------------------------------------------


def test_the_types_own_variable_is_the_proxy_where_nothing_else_names_one(place: Place) -> None:
    place.write(".oqtopus", FILE + WORK)
    place.project('[connections.lab]\ntype = "oqtopus"\nsection = "work"\n')
    environ = {"OQTOPUS_PROXY": "http://own:3128", "HTTPS_PROXY": "http://any:3128"}

    assert used(place, **environ)["proxy"] == "http://own:3128"
    assert used(place, **environ, **BOTH)["proxy"] == "http://own:3128"
    assert used(place, "lab", **environ)["proxy"] == "http://proxy:3128"
    assert used(place, HTTPS_PROXY="any:3128")["proxy"] == "http://any:3128"


def test_a_connection_of_any_type_is_reached_through_the_environments_proxy(place: Place) -> None:
    place.project('[connections.a]\ntype = "iqm"\n[connections.b]\ntype = "pasqal"\n[connections.c]\ntype = "local"\n')

    found = place.read(HTTPS_PROXY="http://any:3128").connections

    assert [found[name].settings.get("proxy") for name in "abc"] == [None, "http://any:3128", None]


def test_a_proxys_password_is_a_secret(place: Place) -> None:
    environ = {**BOTH, "OQTOPUS_PROXY": "http://me:hunter2%21x@proxy:3128"}

    found = place.read(**environ)

    assert "hunter2" not in repr(found.connections["oqtopus"].settings)
    assert used(place, **environ)["proxy"] == "http://me:hunter2%21x@proxy:3128"


@pytest.mark.parametrize("value", ["socks5://proxy:1080", "http://", "a b", "http://u:hunter2@", "ftp://x"])
def test_a_proxy_that_is_none_is_told_without_what_stands_there(place: Place, value: str) -> None:
    words = refusal(place, **BOTH, https_proxy=value)

    assert words == (
        "https_proxy: what stands here is not the address of an http proxy; write for example "
        '"http://proxy.example.org:3128"'
    )


@pytest.mark.parametrize(
    ("address", "environ", "wanted"),
    [
        ("https://a.example.org", {"HTTPS_PROXY": "p"}, "HTTPS_PROXY"),
        ("https://a.example.org", {"HTTPS_PROXY": "p", "https_proxy": "q"}, "https_proxy"),
        ("https://a.example.org", {"HTTP_PROXY": "p"}, None),
        ("https://a.example.org", {"ALL_PROXY": "p"}, "ALL_PROXY"),
        ("https://a.example.org", {"HTTPS_PROXY": ""}, None),
        ("http://a.example.org", {"HTTP_PROXY": "p"}, "HTTP_PROXY"),
        ("http://a.example.org", {"HTTP_PROXY": "p", "REQUEST_METHOD": "GET"}, None),
        ("http://a.example.org", {"http_proxy": "p", "REQUEST_METHOD": "GET"}, "http_proxy"),
        ("http://127.0.0.1:8080", {"HTTP_PROXY": "p"}, None),
        ("http://localhost:8080", {"ALL_PROXY": "p"}, None),
        ("http://[::1]:8080", {"HTTP_PROXY": "p"}, None),
        ("nowhere", {"ALL_PROXY": "p"}, None),
    ],
)
def test_the_environment_names_a_proxy_by_scheme(address: str, environ: dict[str, str], wanted: str | None) -> None:
    found = proxy_for(address, environ)

    assert (found[0] if found is not None else None) == wanted


@pytest.mark.parametrize(
    ("exceptions", "covered"),
    [
        ("*", True),
        ("example.org", True),
        (".example.org", True),
        ("*.example.org", True),
        ("A.Example.ORG", True),
        ("b.org, a.example.org", True),
        ("b.org a.example.org:8443", True),
        ("a.example.org:443", False),
        ("xample.org", False),
        ("b.a.example.org", False),
        (" , ", False),
        (".", False),
        ("10.0.0.0/8", False),
    ],
)
def test_exceptions_are_domains_and_addresses(exceptions: str, covered: bool) -> None:
    environ = {"HTTPS_PROXY": "p", "NO_PROXY": exceptions}

    assert (proxy_for("https://a.example.org:8443", environ) is None) == covered


@pytest.mark.parametrize(
    ("host", "exceptions", "covered"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.0.0.0/99", False),
        ("[fd00::1]", "fd00::/8", True),
        ("[fd00::1]", "fd00::1", True),
        ("[fd00::1]", "[fd00::1]:443", True),
        ("[fd00::1]", "[fd00::1]:80", False),
    ],
)
def test_exceptions_may_be_networks(host: str, exceptions: str, covered: bool) -> None:
    environ = {"HTTPS_PROXY": "p", "NO_PROXY": exceptions}

    assert (proxy_for(f"https://{host}", environ) is None) == covered
