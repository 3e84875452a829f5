"""Pasqal Cloud by convention: which variables say who asks, where, and for which project; and to whom they never go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qrun import settings as package
from qrun.connection import Access, Connection
from qrun.errors import SettingsError
from qrun.providers.pasqal import places
from qrun.settings import Source, usable
from qrun.settings.conventions import CONVENTIONS, VARIANTS
from qrun.settings.hosts import HOSTS, REGIONS, origin
from tests.place import Place

PROJECT = "00000000-0000-0000-0000-00000000aaaa"
PERSON = {"PASQAL_USERNAME": "ada@example.org", "PASQAL_PASSWORD": "pw-0123456789"}
SERVICE = {"PASQAL_CLIENT_ID": "robot-id", "PASQAL_CLIENT_SECRET": "robot-0123456789"}
READY = {"PASQAL_AUTH_TOKEN": "ready-0123456789"}
PAYS = {"PASQAL_PROJECT_ID": PROJECT}
OVH = {"PASQAL_PULSER_ACCESS_TOKEN": "ovh-0123456789"}
STAND_IN = {
    "PASQAL_CORE_URL": "http://127.0.0.1:8470/core-fast",
    "PASQAL_ACCOUNT_URL": "http://127.0.0.1:8470/account",
    "PASQAL_TOKEN_URL": "http://127.0.0.1:8470/oauth/token",
}
EVERYTHING = {**PERSON, **SERVICE, **READY, "PASQAL_TOKEN": "other-0123456789", **PAYS, **OVH}
HOST = "apis.pasqal.cloud"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.chdir(made.root)
    return made


def used(place: Place, name: str = "pasqal", **environ: str) -> dict[str, Any]:
    """What the provider would work with: its settings, the site, and every secret revealed."""
    found = place.read(**environ)
    access = package.access(found, lambda _: None, {"HOME": str(place.home), **environ})
    connection = usable(found.connections, name, access)
    shown = {k: access.reveal(v) if isinstance(v, Source) else v for k, v in connection.settings.items()}
    return {**shown, "site": connection.site}


def refusal(place: Place, name: str = "pasqal", **environ: str) -> str:
    """Why it cannot be used, told only then."""
    found = place.read(**environ)
    with pytest.raises(SettingsError) as error:
        usable(found.connections, name, Access())
    return str(error.value)


def fresnel(place: Place, lines: str = "", project: str = PROJECT) -> None:
    pays = f'project_id = "{project}"\n' if project else ""
    place.project(f'[connections.fresnel]\ntype = "pasqal"\n{pays}{lines}\n')


# --- who asks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "who"),
    [
        (PERSON, {"username": "ada@example.org", "password": "pw-0123456789"}),
        (SERVICE, {"client_id": "robot-id", "client_secret": "robot-0123456789"}),
        (READY, {"token": "ready-0123456789"}),
        ({"PASQAL_TOKEN": "other-0123456789"}, {"token": "other-0123456789"}),
    ],
)
def test_a_type_without_any_connection_is_served_by_variables(
    place: Place, environ: dict[str, str], who: dict[str, str]
) -> None:
    assert used(place, **environ, **PAYS) == {**who, "project_id": PROJECT, "site": f"{HOST}/{PROJECT}"}


def test_what_can_be_renewed_stands_above_a_ready_token(place: Place) -> None:
    environ = dict(EVERYTHING)
    keys = []
    for names in (SERVICE, PERSON, READY, {"PASQAL_TOKEN": ""}):
        keys.append(sorted(used(place, **environ).keys() - {"project_id", "site"}))
        for name in names:
            del environ[name]

    assert keys == [["client_id", "client_secret"], ["password", "username"], ["token"], ["token"]]
    assert "no credentials" in refusal(place, **environ)


def test_the_first_set_that_is_whole_counts(place: Place) -> None:
    assert used(place, PASQAL_CLIENT_ID="robot-id", **PERSON)["username"] == "ada@example.org"
    assert used(place, PASQAL_USERNAME="ada@example.org", **READY)["token"] == "ready-0123456789"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (
            {"PASQAL_USERNAME": "ada"},
            "PASQAL_USERNAME: is set without PASQAL_PASSWORD; set PASQAL_PASSWORD, or unset PASQAL_USERNAME",
        ),
        (
            {"PASQAL_PASSWORD": "pw-0123456789", "PASQAL_USERNAME": ""},
            "PASQAL_PASSWORD: is set without PASQAL_USERNAME; set PASQAL_USERNAME, or unset PASQAL_PASSWORD",
        ),
        (
            {"PASQAL_CLIENT_SECRET": "robot-0123456789", "PASQAL_USERNAME": "ada"},
            "PASQAL_CLIENT_SECRET: is set without PASQAL_CLIENT_ID; set PASQAL_CLIENT_ID, or unset "
            "PASQAL_CLIENT_SECRET",
        ),
    ],
)
def test_half_a_set_is_told_with_what_is_missing(place: Place, environ: dict[str, str], told: str) -> None:
    assert refusal(place, **PAYS, **environ) == told
    assert place.read(**environ).connections.names() == []


def test_without_anything_plan_has_no_site_and_use_names_all_keys_and_variables(place: Place) -> None:
    assert place.read().connections["pasqal"] == Connection(name="pasqal", provider="pasqal")

    assert refusal(place) == (
        '"pasqal" has no credentials; give client_id and client_secret, username and password or token, or set '
        "PASQAL_CLIENT_ID and PASQAL_CLIENT_SECRET, PASQAL_USERNAME and PASQAL_PASSWORD, PASQAL_AUTH_TOKEN or "
        "PASQAL_TOKEN"
    )


def test_a_secret_is_read_when_it_is_asked_for(place: Place) -> None:
    connection = place.read(**PERSON, **PAYS).connections["pasqal"]

    assert connection.settings["password"] == Source(kind="env", name="PASQAL_PASSWORD", field="PASQAL_PASSWORD")
    assert "ada" not in repr(dict(connection.settings))


# --- a connection that says a part ------------------------------------------------------------------------------------


def test_a_connection_with_a_project_alone_takes_the_credentials_and_keeps_its_project(place: Place) -> None:
    fresnel(place, 'webhook = "https://hooks.example.org"')

    found = used(place, "fresnel", **PERSON, PASQAL_PROJECT_ID="another")

    assert found == {
        "project_id": PROJECT,
        "webhook": "https://hooks.example.org",
        "username": "ada@example.org",
        "password": "pw-0123456789",
        "site": f"{HOST}/{PROJECT}",
    }


def test_a_connection_that_lacks_credentials_is_named_with_its_place(place: Place) -> None:
    fresnel(place)

    assert refusal(place, "fresnel").startswith('qrun.toml:1:2: connections.fresnel: "fresnel" has no credentials; ')


@pytest.mark.parametrize(
    ("line", "environ", "who"),
    [
        ('username = "eve"', EVERYTHING, {"username": "eve", "password": "pw-0123456789"}),
        ('password = { env = "QRUN_PW" }', EVERYTHING, {"username": "ada@example.org", "password": "own-0123456789"}),
        ('client_id = "other"', EVERYTHING, {"client_id": "other", "client_secret": "robot-0123456789"}),
        ('token = { env = "QRUN_PW" }', EVERYTHING, {"token": "own-0123456789"}),
    ],
)
def test_what_a_connection_began_itself_is_completed_and_nothing_else_is_added(
    place: Place, line: str, environ: dict[str, str], who: dict[str, str]
) -> None:
    fresnel(place, line)

    found = used(place, "fresnel", QRUN_PW="own-0123456789", **environ)

    assert found == {"project_id": PROJECT, "site": f"{HOST}/{PROJECT}", **who}


def test_what_a_connection_began_and_nobody_completes_is_told(place: Place) -> None:
    fresnel(place, 'username = "eve"')

    assert refusal(place, "fresnel", **SERVICE) == (
        'qrun.toml:1:2: connections.fresnel: "fresnel" has "username" and no "password"; give it, or set '
        "PASQAL_PASSWORD"
    )


def test_a_connection_that_lacks_only_its_project_takes_that_alone(place: Place) -> None:
    fresnel(place, 'token = { env = "QRUN_PW" }', project="")

    found = used(place, "fresnel", QRUN_PW="own-0123456789", **EVERYTHING)

    assert found == {"token": "own-0123456789", "project_id": PROJECT, "site": f"{HOST}/{PROJECT}"}


def test_where_no_project_is_known_there_is_no_site_to_compare(place: Place) -> None:
    fresnel(place, project="")

    assert used(place, "fresnel", **PERSON)["site"] is None
    assert place.read(**PAYS).connections["fresnel"].site == f"{HOST}/{PROJECT}"


# --- by way of OVH ----------------------------------------------------------------------------------------------------


def test_the_token_of_ovh_goes_with_its_variant_and_nothing_else(place: Place) -> None:
    fresnel(place, 'variant = "ovh"', project="")

    assert used(place, "fresnel", **EVERYTHING) == {"variant": "ovh", "token": "ovh-0123456789", "site": HOST}
    assert "no credentials" in refusal(place, **OVH, **PAYS)


def test_the_variant_takes_no_other_credentials(place: Place) -> None:
    fresnel(place, 'variant = "ovh"', project="")

    assert refusal(place, "fresnel", **PERSON, **SERVICE, **READY) == (
        'qrun.toml:1:2: connections.fresnel: "fresnel" has no credentials; give token, or set '
        "PASQAL_PULSER_ACCESS_TOKEN"
    )


# --- where ------------------------------------------------------------------------------------------------------------


def test_a_region_by_variable_is_where_the_credentials_are_for(place: Place) -> None:
    found = used(place, PASQAL_REGION="sa", **PERSON, **PAYS)

    assert (found["region"], found["site"]) == ("sa", f"apis.sa.pasqal.cloud/{PROJECT}")


def test_the_addresses_of_a_stand_in_serve_a_type_without_any_connection(place: Place) -> None:
    found = used(place, **STAND_IN, **PERSON, **PAYS, PASQAL_REGION="sa")

    assert (found["core_url"], found["account_url"], found["token_url"]) == tuple(STAND_IN.values())
    assert found["site"] == f"127.0.0.1:8470/{PROJECT}"
    assert "region" not in found


@pytest.mark.parametrize(
    "core",
    ["http://localhost:1/c", "https://[::1]/c", "https://apis.pasqal.cloud/core-fast", "https://new.example.org"],
)
def test_an_address_by_variable_may_lead_to_this_machine_and_to_known_and_trusted_hosts(
    place: Place, core: str
) -> None:
    environ = {**STAND_IN, "PASQAL_CORE_URL": core, "QRUN_TRUSTED_HOSTS": "new.example.org"}

    assert used(place, **environ, **PERSON)["core_url"] == core


def test_hosts_of_the_users_own_file_are_trusted_there_too(place: Place) -> None:
    place.user('trusted_hosts = ["new.example.org"]\n')

    assert used(place, **STAND_IN | {"PASQAL_CORE_URL": "https://new.example.org"}, **PERSON)["username"]


@pytest.mark.parametrize("name", STAND_IN)
@pytest.mark.parametrize("host", ["quantum.example.org", "apis.pasqal.cloud.example.org", "127.0.0.1.example.org"])
def test_an_address_by_variable_leads_nowhere_else(place: Place, name: str, host: str) -> None:
    environ = {**STAND_IN, name: f"https://{host}/x"}

    words = refusal(place, **environ, **EVERYTHING)

    assert words.startswith(f'{name}: "{host}" is not a known host; those of pasqal are apis.pasqal.cloud, ')
    assert words.endswith("or name the host in QRUN_TRUSTED_HOSTS")
    assert (
        not {"password", "client_secret", "token"}
        & place.read(**environ, **EVERYTHING).connections["pasqal"].settings.keys()
    )


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"PASQAL_REGION": "us"}, 'PASQAL_REGION: "us" is not one of "fr", "sa"'),
        ({**STAND_IN, "PASQAL_CORE_URL": "http://quantum.example.org"}, '"quantum.example.org" may only be reached'),
        ({**STAND_IN, "PASQAL_TOKEN_URL": "https://me:hunter2@x"}, "PASQAL_TOKEN_URL: what stands here is not an"),
        (
            {"PASQAL_CORE_URL": "http://127.0.0.1:8470"},
            "PASQAL_CORE_URL: is set without PASQAL_ACCOUNT_URL and PASQAL_TOKEN_URL; set PASQAL_ACCOUNT_URL and "
            "PASQAL_TOKEN_URL, or unset PASQAL_CORE_URL",
        ),
        ({"PASQAL_TOKEN_URL": "http://127.0.0.1:8470", "PASQAL_REGION": "sa"}, "PASQAL_TOKEN_URL: is set without"),
        ({"PASQAL_PROJECT_ID": "x" * 513}, "PASQAL_PROJECT_ID: "),
    ],
)
def test_a_variable_that_cannot_be_right_is_named_and_no_credential_is_taken(
    place: Place, environ: dict[str, str], told: str
) -> None:
    words = refusal(place, **PERSON, **environ)

    assert told in words
    assert "hunter2" not in words
    assert "password" not in place.read(**PERSON, **environ).connections["pasqal"].settings


# --- for whom credentials are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["core_url", "account_url", "token_url"])
@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:8080/x",
        "http://localhost/x",
        "https://trusted.example.org",
        "https://apis.sa.pasqal.cloud/core-fast",
        "https://auth.sa.pasqal.cloud/realms/pasqal-cloud/protocol/openid-connect/token",
        "https://apis.pasqal.cloud:8443/x",
    ],
)
@pytest.mark.parametrize("line", ["", 'username = "ada"'])
def test_a_projects_address_gets_no_credential_that_is_for_another(
    place: Place, key: str, address: str, line: str
) -> None:
    """A pull request may name a host on this machine, one that the user trusts for something else, or a region's."""
    fresnel(place, f'{key} = "{address}"\n{line}')
    trusted = {"QRUN_TRUSTED_HOSTS": "trusted.example.org apis.pasqal.cloud:8443"}

    words = refusal(place, "fresnel", **EVERYTHING, **trusted)

    assert " for another host; say where its own " in words
    settings = place.read(**EVERYTHING, **trusted).connections["fresnel"].settings
    assert not any(isinstance(value, Source) for value in settings.values())


@pytest.mark.parametrize("key", ["core_url", "account_url", "token_url"])
def test_a_projects_address_gets_nothing_that_is_for_a_stand_in_on_another_port(place: Place, key: str) -> None:
    fresnel(place, f'{key} = "http://127.0.0.1:8471/x"')

    assert " for another host; " in refusal(place, "fresnel", **STAND_IN, **EVERYTHING)


def test_no_address_gets_what_is_for_another_of_the_same_cloud(place: Place) -> None:
    environ = {**STAND_IN, "PASQAL_TOKEN_URL": "http://127.0.0.1:8471/oauth/token"}
    fresnel(place, 'token_url = "http://127.0.0.1:8470/core-fast"')

    assert " for another host; " in refusal(place, "fresnel", **environ, **EVERYTHING)


@pytest.mark.parametrize(
    ("region", "environ", "name"),
    [("sa", {}, "sa"), ("fr", {"PASQAL_REGION": "sa"}, "fr"), ("sa", {"PASQAL_REGION": "fr"}, "sa")],
)
def test_a_projects_region_gets_no_credential_of_another_region(
    place: Place, region: str, environ: dict[str, str], name: str
) -> None:
    fresnel(place, f'region = "{region}"')
    said = "PASQAL_REGION, " if environ else ""

    assert refusal(place, "fresnel", **PERSON, **environ) == (
        'qrun.toml:1:2: connections.fresnel: "fresnel" has no credentials, and those of '
        f"{said}PASQAL_USERNAME and PASQAL_PASSWORD are for another host; say where its own are, or set PASQAL_REGION "
        f'to "{name}" if they are for there'
    )
    assert used(place, "fresnel", **PERSON, PASQAL_REGION=region)["region"] == region


def test_a_projects_region_gets_nothing_that_is_for_a_stand_in(place: Place) -> None:
    fresnel(place, 'region = "fr"')

    assert " for another host; " in refusal(place, "fresnel", **STAND_IN, **PERSON)


@pytest.mark.parametrize(
    "line",
    [
        'region = "fr"',
        'core_url = "https://APIS.pasqal.cloud:443/core"',
        'token_url = "https://authenticate.pasqal.cloud/oauth/token"',
    ],
)
def test_the_same_cloud_however_it_is_written_gets_the_credentials(place: Place, line: str) -> None:
    fresnel(place, line)

    assert used(place, "fresnel", **PERSON)["password"] == "pw-0123456789"


def test_the_same_stand_in_however_it_is_written_gets_the_credentials(place: Place) -> None:
    fresnel(place, 'core_url = "http://127.0.0.1:8470/core"')

    found = used(place, "fresnel", **STAND_IN, **PERSON)

    assert (found["core_url"], found["token_url"]) == (
        "http://127.0.0.1:8470/core",
        STAND_IN["PASQAL_TOKEN_URL"],
    )


def test_a_connections_own_credentials_never_follow_the_variables_elsewhere(place: Place) -> None:
    fresnel(place, 'token = { env = "QRUN_PW" }', project="")

    for environ in (STAND_IN, {"PASQAL_REGION": "sa"}, {"PASQAL_CORE_URL": "http://127.0.0.1:1"}):
        found = used(place, "fresnel", QRUN_PW="own-0123456789", **environ)
        assert found == {"token": "own-0123456789", "site": None}


def test_each_region_has_its_own_hosts_and_they_are_those_that_the_provider_asks() -> None:
    assert HOSTS["pasqal"] == REGIONS["pasqal", "fr"] | REGIONS["pasqal", "sa"]
    assert not REGIONS["pasqal", "fr"] & REGIONS["pasqal", "sa"]
    for name, there in places.REGIONS.items():
        asked = {origin(address) for address in (there.core, there.account, there.token)}
        assert asked <= {("https", host) for host in REGIONS["pasqal", name]}


def test_each_variable_of_a_convention_is_described() -> None:
    page = (Path(__file__).parent.parent / "docs" / "settings.md").read_text(encoding="utf-8")
    rules = [*CONVENTIONS.values(), *VARIANTS.values()]
    names = {name for rule in rules for some in (*rule.places, *rule.credentials, rule.alone) for name in some.values()}

    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


# --- what is told, and when -------------------------------------------------------------------------------------------


def test_what_somebody_follows_is_named_with_all_that_counted(place: Place) -> None:
    found = place.read(**STAND_IN, **PERSON, **PAYS).connections

    assert found.names() == ["pasqal"]
    assert found.way("pasqal").said == (
        "PASQAL_CORE_URL, PASQAL_ACCOUNT_URL, PASQAL_TOKEN_URL, PASQAL_USERNAME, PASQAL_PASSWORD and PASQAL_PROJECT_ID"
    )
    assert place.read(**PAYS, PASQAL_REGION="sa").connections.names() == []


@pytest.mark.parametrize(
    "lines", ["", 'username = { env = "PASQAL_USERNAME" }\npassword = { env = "PASQAL_PASSWORD" }']
)
def test_variables_that_serve_a_connection_are_no_second_one(place: Place, lines: str) -> None:
    """Else `qrun devices` would ask the cloud twice, or send what is meant for another installation to this one."""
    fresnel(place, lines)

    assert place.read(**PERSON).connections.names() == ["fresnel"]
    assert place.read(**SERVICE).connections.names() == (["fresnel", "pasqal"] if lines else ["fresnel"])


def test_of_a_connection_that_says_a_part_only_what_was_added_is_told(place: Place) -> None:
    fresnel(place)
    assert place.read(**PERSON, **PAYS).connections.way("fresnel").said == "PASQAL_USERNAME and PASQAL_PASSWORD"

    fresnel(place, 'token = { env = "QRUN_PW" }', project="")
    assert place.read(**EVERYTHING).connections.way("fresnel").said == "PASQAL_PROJECT_ID"
    assert place.read(**STAND_IN, **EVERYTHING).connections.way("fresnel").said is None


def test_a_connection_that_says_all_follows_nothing(place: Place) -> None:
    fresnel(place, 'token = { env = "QRUN_PW" }')

    way = place.read(PASQAL_REGION="us", **EVERYTHING).connections.way("fresnel")

    assert (way.said, way.problem) == (None, None)


def test_the_signature_changes_with_each_variable_and_holds_no_secret(place: Place) -> None:
    def signature(**environ: str) -> str:
        return repr(list(place.read(**environ).connections.signature()))

    rule = CONVENTIONS["pasqal"]
    names = [name for some in (*rule.places, *rule.credentials, rule.alone) for name in some.values()]
    ones = [signature(**{name: "something"}) for name in [*names, *OVH]]

    assert len({signature(), *ones, signature(QRUN_TRUSTED_HOSTS="something")}) == len(names) + 3
    assert "0123456789" not in signature(**EVERYTHING)
    assert signature(PASQAL_PASSWORD="a") == signature(PASQAL_PASSWORD="b")


def test_the_environments_proxy_serves_a_connection_by_convention(place: Place) -> None:
    assert used(place, HTTPS_PROXY="any:3128", **PERSON)["proxy"] == "http://any:3128"
    assert "proxy" not in used(place, HTTPS_PROXY="any:3128", HTTP_PROXY="any:3128", **STAND_IN, **PERSON)
