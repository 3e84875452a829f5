"""Secrets that were revealed are in nothing that leaves the process, however they are written there.

What is noted stays so for the whole process, so each test has a secret of its own.
"""

from __future__ import annotations

import base64
import html
import json
import urllib.parse
from secrets import token_hex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from qrun.cli.out import say, say_json, tell, to_json
from qrun.connection import Connection
from qrun.errors import Problem
from qrun.redact import HIDDEN, forms, hidden, note, redact, redacted, redacted_bytes, redacted_values, tainted
from qrun.render.safe import safe, shown, told
from qrun.settings import Secret, Settings, Source, access

NASTY = 'p/w"x+1 %\\é'


@pytest.mark.parametrize(
    "written",
    [
        lambda secret: secret,
        json.dumps,
        lambda secret: json.dumps(secret, ensure_ascii=False),
        lambda secret: json.dumps(json.dumps({"error": secret})),
        repr,
        lambda secret: urllib.parse.quote(secret, safe=""),
        lambda secret: urllib.parse.quote(secret, safe="").lower() if secret.islower() else urllib.parse.quote(secret),
        urllib.parse.quote_plus,
        lambda secret: urllib.parse.urlencode({"token": secret}),
        html.escape,
        lambda secret: secret.encode().hex(),
        lambda secret: base64.b64encode(secret.encode()).decode(),
        lambda secret: base64.b64encode(f"user:{secret}".encode()).decode(),
        lambda secret: base64.urlsafe_b64encode(f"a{secret}b".encode()).decode(),
    ],
)
def test_a_noted_secret_is_hidden_however_it_is_written(written: Any) -> None:
    for core in (token_hex(8), token_hex(8) + NASTY):
        note(core)

        text = redacted(f"the server said <{written(core)}> and stopped")

        assert HIDDEN in text
        assert core not in text
        assert not any(form in text for form in forms(core))


@effort(max_examples=200, deadline=None)
@given(st.text(min_size=6, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_no_secret_survives_in_any_surroundings(secret: str, before: str, after: str) -> None:
    for written in (secret, json.dumps(secret)[1:-1], urllib.parse.quote(secret.encode(errors="surrogatepass"))):
        assert written not in redact(before + written + after, [secret]).replace(HIDDEN, "\0")


def test_both_halves_of_a_token_and_all_parts_of_a_jwt_are_secret() -> None:
    halves, parts = [token_hex(8), token_hex(16)], [token_hex(6), token_hex(10), token_hex(4)]
    note(".".join(halves))
    note(".".join(parts))

    for part in (*halves, *parts):
        assert redacted(f"<{part}>") == f"<{HIDDEN}>"


def test_the_beginning_of_a_secret_that_was_cut_off_is_hidden_too() -> None:
    secret = token_hex(20)
    note(secret)

    assert redacted(f'"{secret[:9]}…" is wrong') == f'"{HIDDEN}…" is wrong'
    assert redacted(f"{secret[:30]}... and {secret[:6]}...") == f"{HIDDEN}... and {HIDDEN}..."
    assert redacted(f"{secret[:5]}… and so on…") == f"{secret[:5]}… and so on…"


def test_what_is_short_hides_nothing_and_empties_no_message() -> None:
    for short in ("", "a", "jobs", "12345"):
        note(short)

    assert redacted("a job of 12345 jobs") == "a job of 12345 jobs"
    assert forms("12345") == frozenset()


def test_given_secrets_are_hidden_beside_the_noted_ones() -> None:
    noted, given_one = token_hex(8), token_hex(8)
    note(noted)

    assert redact(f"{noted} {given_one}", [given_one]) == f"{HIDDEN} {HIDDEN}"
    assert hidden(f"{given_one} api_token={token_hex(4)}", [given_one]) == f"{HIDDEN} api_token={HIDDEN}"


def test_values_of_a_document_are_hidden_and_it_stays_one() -> None:
    number = int("9" + "".join(str(int(c, 16) % 10) for c in token_hex(6)))
    secret = token_hex(8)
    note(str(number))
    note(secret)

    document = {"seed": number, "words": [f"<{secret}>", str(number)], secret: None, "nested": ({"a": True},)}

    assert redacted_values(document) == {
        "seed": number,
        "words": [f"<{HIDDEN}>", HIDDEN],
        HIDDEN: None,
        "nested": [{"a": True}],
    }
    assert json.loads(to_json(document))["seed"] == number


def test_bytes_are_kept_but_for_what_is_surely_a_secret() -> None:
    long, bits = token_hex(8), "0" + "".join(str(int(c, 16) % 2) for c in token_hex(7))
    note(long)
    note(bits)

    data = f'{{"counts": {{"{bits}": 5}}, "note": "{long}"}}'.encode() + b"\xff"

    assert redacted_bytes(data) == data.replace(long.encode(), HIDDEN.encode())
    assert tainted(data)
    assert not tainted(b'{"counts": {}}')


# --- every way out ----------------------------------------------------------------------------------------------------


def test_no_stream_carries_a_noted_secret(capsys: pytest.CaptureFixture[str]) -> None:
    secret = token_hex(8) + NASTY
    number = int("9" + "".join(str(int(c, 16) % 10) for c in token_hex(6)))
    note(secret)
    note(str(number))

    say(f"counts of {secret}")
    tell(f"error at {secret}")
    say_json({"message": secret, "seed": number})

    out, err = capsys.readouterr()
    line, _, document = out.partition("\n")
    assert (line, err) == (f"counts of {HIDDEN}", f"error at {HIDDEN}\n")
    assert json.loads(document) == {"message": HIDDEN, "seed": number}


def test_what_is_made_safe_for_a_terminal_by_somebody_else_holds_none_either() -> None:
    secret = token_hex(8)
    note(secret)

    assert safe(f"a\n{secret}") == f"a␤{HIDDEN}"
    assert shown(secret) == HIDDEN
    assert told(Problem(message=f"bad {secret}", field=secret, hint=secret)) == f"{HIDDEN}: bad {HIDDEN}; {HIDDEN}"


def test_whatever_is_revealed_is_noted_and_of_a_proxy_its_password() -> None:
    token, password = token_hex(8), "p@" + token_hex(8)
    found = access(Settings(root="/"), lambda _: None, {"QRUN_T": token})
    proxy = f"http://somebody:{urllib.parse.quote(password, safe='')}@proxy:3128"

    assert found.reveal(Source(kind="env", name="QRUN_T")) == token
    assert found.reveal(Source(kind="text", text=Secret(proxy))) == proxy

    credentials = base64.b64encode(f"somebody:{password}".encode()).decode()
    for text in (token, password, urllib.parse.quote(password, safe=""), credentials):
        assert redacted(f"<{text}>").startswith(f"<{HIDDEN}")


def test_a_connection_shows_none_of_its_settings() -> None:
    assert "secret" not in repr(Connection(name="a", provider="b", settings={"token": "secret"}))
