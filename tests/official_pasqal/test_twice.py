"""How often a batch is bought when the answer to its creation is lost: by the official client, by Pulser, by qrun.

A cloud that has created a batch and then answers with a gateway's time-out is met by all three on one stand-in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulator_pasqal import PARAMETRIZED, Cloud
from tests.official.surface import runs
from tests.official_pasqal.author import Author
from tests.official_pasqal.conftest import by_pulser, connected

package = pytest.importorskip("pasqal_cloud", reason="the official client is not installed")

# the client itself makes objects of a class that Pulser gives up
pytestmark = pytest.mark.filterwarnings("ignore:The 'SampledResult' class:DeprecationWarning")

PasqalCloudClient: Any = import_module("pasqal_cloud.pasqal_cloud_client").PasqalCloudClient
requests: Any = import_module("requests")
pulser: Any = import_module("pulser")

JOB: Final[dict[str, Any]] = {"runs": 20, "variables": {"omega": 0.25}}
CREATE: Final = "POST /api/v1/batches"
INNER: Final = [1, 2, 4, 8, 16]  # seconds between the six sends of the client's own layer
OUTER: Final = [1, 2, 4, 8]  # and between the five calls of the layer around it


def by_client(account: Cloud) -> None:
    connected(account).create_batch(PARAMETRIZED, [JOB], device_type="EMU_FREE", tags=["sent-once"])


def through_pulser(account: Cloud) -> None:
    """As Pulser's backends submit."""
    by_pulser(account).submit(
        pulser.Sequence.from_abstract_repr(PARAMETRIZED), job_params=[JOB], device_type="EMU_FREE"
    )


def by_author(folder: Path) -> Callable[[Cloud], None]:
    def apply(account: Cloud) -> None:
        author = Author(folder, account)
        author.apply(JOB)
        author.type("sync", "--wait", "exp.yaml")

    return apply


@pytest.fixture
def accounts(whole: Cloud) -> Iterator[Callable[..., Cloud]]:
    """New ones, with faults of their own."""
    made: list[Cloud] = []

    def account(*faults: str) -> Cloud:
        made.append(whole.new_account())
        made[-1].faults(*faults)
        return made[-1]

    yield account
    for each in made:
        each.close()


def bought(account: Cloud) -> tuple[int, int]:
    """How often it was asked for a batch, and how many batches it has."""
    return account.asked(CREATE), len(account.books()["batches"])


@runs(PasqalCloudClient.create_batch, package.PasqalCloudConnection.submit)
def test_one_gateway_timeout_buys_two_batches_from_the_client_and_one_from_qrun(
    accounts: Callable[..., Cloud], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the API lets the cloud see that it is asked for the same batch again."""
    monkeypatch.chdir(tmp_path)
    clouds = {}

    for name, send in (("client", by_client), ("pulser", through_pulser), ("qrun", by_author(tmp_path))):
        clouds[name] = accounts(f"{CREATE}: 504-after x1")
        send(clouds[name])

    assert {name: bought(cloud) for name, cloud in clouds.items()} == {
        "client": (2, 2),
        "pulser": (2, 2),
        "qrun": (1, 1),
    }
    assert clouds["client"].books()["created_by_tag"] == {"sent-once": 2}
    (batch,) = clouds["qrun"].books()["batches"]
    assert [(job["status"], job["starts"]) for job in batch["jobs"]] == [("DONE", 1)]


def test_a_lost_connection_buys_two_batches_through_pulser_and_one_through_qrun(
    accounts: Callable[..., Cloud], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client raises, and the layer around it calls it once more: for whatever is an `Exception`, as what the
    client makes of an answer is not.
    """
    monkeypatch.chdir(tmp_path)
    alone, around, ours = (accounts(f"{CREATE}: close-after x1") for _ in range(3))

    with pytest.raises(requests.ConnectionError):
        by_client(alone)
    through_pulser(around)
    by_author(tmp_path)(ours)

    assert (bought(alone), bought(around), bought(ours)) == ((1, 1), (2, 2), (1, 1))


def test_a_gateway_that_is_ill_for_minutes_buys_thirty_batches_through_pulser_and_one_through_qrun(
    accounts: Callable[..., Cloud], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]
) -> None:
    monkeypatch.chdir(tmp_path)
    ill = [f"{CREATE}: 504-after x5", f"{CREATE}: close-after x1"] * 5
    theirs, ours = accounts(*ill), accounts(*ill)

    with pytest.raises(requests.ConnectionError):
        through_pulser(theirs)
    asked = list(waits)
    by_author(tmp_path)(ours)

    assert (bought(theirs), bought(ours)) == ((30, 30), (1, 1))
    assert asked == [*(wait for outer in OUTER for wait in (*INNER, outer)), *INNER]
