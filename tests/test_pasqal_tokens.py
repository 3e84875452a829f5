"""How a connection to Pasqal Cloud proves who asks: which login, for how long, and what happens when it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from qrun.connection import Connection
from qrun.errors import Denied, SettingsError, Unavailable, Uncertain
from qrun.provider import Marks
from qrun.providers.pasqal.places import REGIONS, place
from qrun.providers.pasqal.tokens import lifetime, way
from tests.pasqal import MARK, Cloud, answer, beside, cloud, jwt, refuses, sent, unsent
from tests.virtual import EPOCH, VirtualClock

LATER = 23 * 3600.0


def look(clock: VirtualClock, there: Cloud, times: int = 1, wait: float = 0.0, **settings: Any) -> None:
    """So many questions, so far apart."""

    async def go() -> None:
        pasqal = beside(there, **settings)
        for turn in range(times):
            if turn:
                await clock.sleep(wait)
            await pasqal.find(Marks(mark=MARK))

    clock.run(go())


def test_a_user_asks_for_a_token_once_and_keeps_it_until_a_minute_before_it_ends() -> None:
    there, clock = cloud(lifetime=3600)

    look(clock, there, times=60, wait=119.0)  # the last of them after 7021 seconds

    assert there.asked("POST token") == 2
    times = [when for when, route, _, _ in there.seen if route == "POST token"]
    assert 3540 <= times[1] - times[0] <= 3660


def test_a_short_token_is_kept_for_half_its_life() -> None:
    there, clock = cloud(lifetime=40)

    look(clock, there, times=3, wait=19.0)

    assert there.asked("POST token") == 2


def test_a_user_says_what_the_region_wants_to_hear() -> None:
    there, clock = cloud()

    look(clock, there)
    (fr,) = there.bodies("POST token")
    look(clock, there, region="sa", realm="other")

    assert fr == {
        "client_id": "PeZvo7Atx7IVv3iel59asJSb4Ig7vuSB",
        "grant_type": "http://auth0.com/oauth/grant-type/password-realm",
        "realm": "pcs-users",
        "audience": "https://apis.pasqal.cloud/account/api/v1",
        "username": "me",
        "password": "pa55word",
    }
    sa = there.bodies("POST token")[1]
    assert (sa["client_id"], sa["grant_type"], sa["realm"]) == ("cloud-sdk", "password", "other")


def test_a_service_account_gives_its_own_name_and_secret() -> None:
    there, clock = cloud()

    look(clock, there, client_id="robot", client_secret="pa55word")

    assert there.bodies("POST token") == [
        {
            "client_id": "robot",
            "client_secret": "pa55word",
            "audience": "https://apis.pasqal.cloud/account/api/v1",
            "grant_type": "client_credentials",
        }
    ]


def test_a_ready_token_asks_nobody_for_one() -> None:
    there, clock = cloud()

    look(clock, there, token="ready")

    assert there.routes() == ["GET batches"]


def test_a_ready_token_that_is_refused_is_read_anew_from_its_source() -> None:
    there, clock = cloud()
    source = iter(["stale", "ready"])

    look(clock, there, token=object(), reveal=lambda _: next(source))

    assert there.routes() == ["GET batches", "GET batches"]


def test_a_ready_token_that_stays_refused_is_the_operators_to_change() -> None:
    there, clock = cloud()

    with pytest.raises(Denied) as caught:
        look(clock, there, token="stale-token")

    assert str(caught.value).endswith('401 "Unauthorized"; check the credentials of connection "atoms"')
    assert "stale-token" not in str(caught.value)
    assert there.asked("GET batches") == 1


def test_a_token_that_is_refused_is_renewed_once_and_a_second_refusal_is_final() -> None:
    there, clock = cloud()
    there.script["GET batches"] = [refuses(401, "Unauthorized")]

    look(clock, there)

    assert there.routes() == ["POST token", "GET batches", "POST token", "GET batches"]

    there.script["GET batches"] = [refuses(401, "Unauthorized")] * 2
    with pytest.raises(Denied):
        look(clock, there)


def test_many_requests_that_are_refused_together_ask_for_one_new_token() -> None:
    there, clock = cloud()
    handles = [there.new("PENDING")[0] for _ in range(5)]

    async def go() -> None:
        pasqal = beside(there)
        await pasqal.find(Marks(mark=MARK))
        there.good_tokens.clear()
        there.seen.clear()
        await pasqal.cancel(handles)

    clock.run(go())

    assert there.asked("POST token") == 1


def test_a_submit_that_was_refused_for_its_token_is_sent_once_more_since_nothing_was_done() -> None:
    there, clock = cloud()
    there.script["POST batches"] = [refuses(401, "Unauthorized")]

    (handle,) = clock.run(sent(beside(there)))

    assert there.creates == [handle.partition("/")[0]]
    assert there.asked("POST batches") == 2


def test_a_401_that_somebody_else_says_is_no_proof_that_nothing_was_done() -> None:
    there, clock = cloud()
    there.script["POST batches"] = [answer(401, "<html>who are you</html>")]

    with pytest.raises(Uncertain):
        clock.run(sent(beside(there)))

    assert there.asked("POST batches") == 1


@pytest.mark.parametrize("fault", [unsent, answer(200, {"no": "token"}), answer(200, "<html>")])
def test_without_a_new_token_a_submit_was_not_sent(fault: Any) -> None:
    there, clock = cloud()
    there.script["POST batches"] = [refuses(401, "Unauthorized")]
    there.script["POST token"] = [None, *[fault] * 9]

    with pytest.raises(Unavailable):
        clock.run(sent(beside(there)))

    assert there.creates == []


def test_a_wrong_password_is_told_in_the_words_of_the_cloud_and_stands_in_no_message() -> None:
    there, clock = cloud()

    with pytest.raises(Denied) as caught:
        look(clock, there, password="correct horse")

    assert str(caught.value) == (
        '"atoms", POST /token: 403 invalid_grant "Wrong email or password."; '
        'check username and password of connection "atoms"'
    )


def test_a_secret_that_an_answer_repeats_is_cut_out() -> None:
    there, clock = cloud()
    there.script["POST token"] = [answer(403, {"error": "denied", "error_description": "pa55word is too short"})]

    with pytest.raises(Denied) as caught:
        look(clock, there)

    assert "pa55word" not in str(caught.value)
    assert "pa55word" not in str(caught.value.words)


def test_while_the_old_token_is_still_good_a_login_that_is_down_stops_nobody() -> None:
    there, clock = cloud(lifetime=3600)
    there.script["POST token"] = [None, *[unsent] * 9]

    look(clock, there, times=2, wait=3570.0)

    assert there.asked("GET batches") == 2


def test_a_life_that_nobody_tells_is_read_from_the_token() -> None:
    assert lifetime(jwt(exp=EPOCH + 300), EPOCH) == 300
    assert lifetime("opaque", EPOCH) is None
    assert lifetime("a.b.c", EPOCH) is None
    assert lifetime(jwt(exp="soon"), EPOCH) is None


def test_a_ready_token_that_names_its_end_is_read_anew_before_it() -> None:
    there, clock = cloud()
    first, second = jwt(exp=EPOCH + 600, n=1), jwt(exp=EPOCH + 6000, n=2)
    there.good_tokens = {first, second}
    source = iter([first, second])

    look(clock, there, times=2, wait=560.0, token=object(), reveal=lambda _: next(source))

    assert next(source, None) is None
    assert there.asked("GET batches") == 2


def test_an_opaque_token_is_kept_until_it_is_refused() -> None:
    there, clock = cloud(lifetime=None)

    look(clock, there, times=3, wait=LATER)

    assert there.asked("POST token") == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, 'connection "atoms" has no credentials'),
        ({"username": "me"}, 'connection "atoms" has username and no password'),
        ({"client_secret": "x"}, 'connection "atoms" has client_secret and no client_id'),
    ],
)
def test_a_login_that_is_not_whole_is_named(settings: dict[str, Any], words: str) -> None:
    cure = "give username and password, or client_id and client_secret, or token"

    with pytest.raises(SettingsError) as caught:
        way(Connection(name="atoms", provider="pasqal", settings=settings))

    assert str(caught.value) == f"{words}; {cure}"


def test_every_address_can_be_another() -> None:
    own = {"core_url": "c", "account_url": "a", "token_url": "t", "grant_type": "g", "auth_client_id": "i"}

    found = place({**own, "region": "sa", "realm": "r", "audience": "u"})

    told = (found.core, found.account, found.token, found.grant_type, found.client_id, found.realm, found.audience)
    assert told == ("c", "a", "t", "g", "i", "r", "u")
    assert place({}) == REGIONS["fr"]


def test_a_project_that_is_missing_is_asked_for_with_those_that_the_account_has() -> None:
    there, clock = cloud()

    with pytest.raises(Denied) as caught:
        clock.run(sent(beside(there, project_id=None)))

    assert str(caught.value) == (
        'connection "atoms" has no project_id; '
        "give it in qrun.toml, or set PASQAL_PROJECT_ID; this account has atoms (00000000-0000-0000-0000-00000000aaaa)"
    )
    assert there.creates == []


def test_no_token_is_asked_for_before_somebody_asks_something() -> None:
    there, _ = cloud()

    beside(there)

    assert there.seen == []


def test_a_token_that_is_given_out_a_second_time_is_good_a_second_time() -> None:
    there, clock = cloud()

    look(clock, there)
    there.tokens.clear()
    look(clock, there)

    assert there.tokens == ["token-1-of-many"]
