"""A job of the cloud as a manifest would say it: the way back from what was sent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from qrun.errors import Unexpected
from qrun.providers.oqtopus.wire import INFOS, KINDS, TRANSPILED, member, said, unmarked

FACTOR: Final = re.compile(r"([IXYZ])\s*([0-9]*)\s*")


def fields(document: Mapping[str, Any], content: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields of a manifest. `content` is None where it is gone, and with it the observable, which is None then.

    Options that are what the server does anyway are left out: it writes them into jobs that asked for nothing.
    """
    kind = KINDS.get(said(document, "job_type"))
    if kind is None:
        raise Unexpected(f'a job of type "{document.get("job_type")}" has no kind here')
    options = {info: document[info] for info in INFOS if document.get(info)}
    if options.get("transpiler_info") == TRANSPILED:
        del options["transpiler_info"]
    told: dict[str, Any] = {"device": member(document, "device_id", of="a job"), "kind": kind}
    whole = {
        "shots": None if kind == "sse" else document.get("shots"),
        "observable": [_term(term) for term in (content or {}).get("operator") or ()],
        "options": options,
        "description": unmarked(said(document, "description")),
    }
    if content is None and kind == "estimation":
        told["observable"] = None
    return told | {name: value for name, value in whole.items() if value}


def _term(term: Any) -> list[Any]:
    """`X 0 Z 1` and `X0 Z1` are the same product; a coefficient is 1 unless it is given."""
    text = member(term, "pauli", of="a term of the operator")
    factors = FACTOR.findall(text)
    if FACTOR.sub("", text).strip() or not factors:
        raise Unexpected(f"{json.dumps(text[:80])} is no product of Pauli matrices")
    product = " ".join(letter + qubit for letter, qubit in factors if letter != "I") or "I"
    coefficient = term.get("coeff", 1)
    return [product, coefficient[0] if isinstance(coefficient, list) and coefficient else coefficient]


def programs(content: Mapping[str, Any], kind: str) -> tuple[tuple[str, bytes], ...]:
    """The bytes that were sent, under names of ours."""
    if kind == "sse":
        return (("program.py", member(content, "sse_program", of="what was sent").encode()),)
    texts: Sequence[Any] = member(content, "program", list, of="what was sent")
    if not all(isinstance(text, str) for text in texts):
        raise Unexpected("what was sent holds a program that is not text")
    names = ["program.qasm"] if len(texts) == 1 else [f"program-{place}.qasm" for place in range(len(texts))]
    return tuple((name, text.encode()) for name, text in zip(names, texts, strict=True))
