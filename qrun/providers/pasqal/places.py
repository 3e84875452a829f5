"""Where Pasqal Cloud is: the addresses of its regions, and the routes below them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from qrun.errors import Rejected
from qrun.http import segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Three hosts, and what the one that gives out tokens wants to hear. `realm` may be left out."""

    core: str
    account: str
    token: str
    grant_type: str
    client_id: str
    realm: str | None
    audience: str


AUDIENCE: Final = "https://apis.pasqal.cloud/account/api/v1"
REGIONS: Final[Mapping[str, Place]] = {
    "fr": Place(
        core="https://apis.pasqal.cloud/core-fast",
        account="https://apis.pasqal.cloud/account",
        token="https://pasqal.eu.auth0.com/oauth/token",  # noqa: S106 - an address
        grant_type="http://auth0.com/oauth/grant-type/password-realm",
        client_id="PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB",
        realm="pcs-users",
        audience=AUDIENCE,
    ),
    "sa": Place(
        core="https://apis.sa.pasqal.cloud/core-fast",
        account="https://apis.sa.pasqal.cloud/account",
        token="https://auth.sa.pasqal.cloud/realms/pasqal-cloud/protocol/openid-connect/token",  # noqa: S106
        grant_type="password",
        client_id="cloud-sdk",
        realm="pasqal-cloud",
        audience=AUDIENCE,
    ),
}
KEYS: Final[Mapping[str, str]] = {  # of a connection, and what each replaces
    "core_url": "core",
    "account_url": "account",
    "token_url": "token",
    "grant_type": "grant_type",
    "auth_client_id": "client_id",
    "realm": "realm",
    "audience": "audience",
}


def place(settings: Mapping[str, Any]) -> Place:
    """Those of the region (`fr` where none is named), with what the connection says itself."""
    own = {name: str(settings[key]) for key, name in KEYS.items() if settings.get(key) is not None}
    return replace(REGIONS[settings.get("region", "fr")], **own)


class Route(StrEnum):
    """Below the core's address; the service mixes its versions."""

    BATCHES = "/api/v1/batches"
    BATCH = "/api/v2/batches/{}"
    BATCH_STATUS = "/api/v1/batches/{}/status"
    ADD = "/api/v2/batches/{}/jobs"
    CLOSE = "/api/v2/batches/{}/complete"
    CANCEL_BATCHES = "/api/v1/batches/cancel"
    CANCEL_JOBS = "/api/v2/batches/{}/cancel/jobs"
    REBATCH = "/api/v1/batches/{}/rebatch"
    TAGS = "/api/v1/batches/{}/tags"
    JOBS = "/api/v2/jobs"
    JOB = "/api/v2/jobs/{}"
    JOB_STATUS = "/api/v1/jobs/{}/status"
    CANCEL_JOB = "/api/v2/jobs/{}/cancel"
    RESULTS = "/api/v1/jobs/{}/results_link"
    NEW_WORKLOAD = "/api/v1/workloads"
    WORKLOADS = "/api/v2/workloads"
    WORKLOAD = "/api/v2/workloads/{}"
    CANCEL_WORKLOAD = "/api/v1/workloads/{}/cancel"
    SPECS = "/api/v1/devices/specs"
    PUBLIC_SPECS = "/api/v1/devices/public-specs"
    STATES = "/api/v1/devices"


BY_OVH: Final = "/api/v1/third-party-access/ovh"
OVH: Final[Mapping[Route, str]] = {
    Route.BATCHES: f"{BY_OVH}/batches",  # to create one; they cannot be listed
    Route.BATCH: f"{BY_OVH}/batches/{{}}",
    Route.BATCH_STATUS: f"{BY_OVH}/batches/{{}}/status",
    Route.JOBS: f"{BY_OVH}/jobs",
    Route.JOB_STATUS: f"{BY_OVH}/jobs/{{}}/status",
    Route.RESULTS: f"{BY_OVH}/jobs/{{}}/results_link",
    Route.PUBLIC_SPECS: Route.PUBLIC_SPECS,
    Route.STATES: Route.STATES,
}


def path(route: Route, names: tuple[str, ...], *, ovh: bool) -> str:
    """Raises Rejected for what this way of access does not offer."""
    template = OVH.get(route) if ovh else route.value
    if template is None:
        raise lacking(f'"{route.name.lower().replace("_", " ")}"')
    return template.format(*map(segment, names))


def lacking(what: str) -> Rejected:
    return Rejected(f"access by way of OVH offers no {what}", hint="use a connection of your own to Pasqal Cloud")
