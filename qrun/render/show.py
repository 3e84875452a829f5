"""One job in full: what is recorded of it, and its results drawn in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from qrun.canonical import number
from qrun.record import Record
from qrun.render.histogram import bars
from qrun.render.safe import safe, shown
from qrun.render.words import columns, count, size

MOST: Final = 12  # lines of provider facts, and of values in lists
TIMES: Final = ("created", "submitted", "ready", "started", "running", "ended")
CUT: Final = 400  # characters of a result that is no counts and no value


def text(
    name: str, record: Record, job: Mapping[str, Any], *, facts: Mapping[str, Any], folder: str, results: Any
) -> str:
    """`job` is the rendered job, `facts` are the provider's of the last attempt, `folder` is where all of it lies."""
    rows = [(f"  {label}", value) for label, value in _rows(record, job, facts, folder) if value]
    lines = [name, *columns(rows)]
    drawn = list(results_lines(results))
    return "\n".join([*lines, *([""] if drawn else []), *(f"  {line}" for line in drawn)])


def _rows(record: Record, job: Mapping[str, Any], facts: Mapping[str, Any], folder: str) -> Iterator[tuple[str, str]]:
    last = record.last
    word = f" ({safe(last.word)})" if last is not None and last.word and last.word.lower() != record.phase else ""
    yield "phase", f"{record.phase}{word}"
    yield "message", shown(last.message) if last is not None and last.message else ""
    yield "where", safe(f"{job.get('connection', record.provider)}/{record.device}")
    yield "site", safe(record.site or "")
    yield "kind", safe(job.get("kind", ""))
    yield "program", ", ".join(safe(program.get("path", "")) for program in job.get("program", ()))
    yield "shots", str(job.get("shots") or "")
    yield "params", _inline(job.get("params"))
    yield "options", _inline(job.get("options"))
    yield "tags", safe(", ".join(record.tags))
    yield "note", safe(record.description)
    if last is not None:
        yield "attempt", str(last.n) if last.n > 1 else ""
        yield "handle", safe(last.handle or "")
        yield "sent", safe(last.sent or "")
    for label, value in sorted(facts.items(), key=_in_time)[:MOST]:
        yield safe(label), _device(value) if label == "device" else _inline(value)
    yield "formerly", safe(", ".join(record.formerly))
    yield "digest", record.digest
    yield "outputs", ", ".join(f"{safe(o.name)} ({size(o.size)})" for o in record.outputs or ())
    yield "kept in", safe(folder)


def _in_time(fact: tuple[str, Any]) -> int:
    """Times of a job's life in their order, then what else the provider said, as it comes."""
    return TIMES.index(fact[0]) if fact[0] in TIMES else len(TIMES)


def _device(value: Any) -> str:
    """What the provider said of the device lies beside the results, once for all jobs that met it so."""
    if not isinstance(value, Mapping) or not isinstance(value.get("snapshot"), str):
        return _inline(value)
    calibrated = f", calibrated {value['calibrated_at']}" if "calibrated_at" in value else ""
    return shown(f"as in devices/{value['snapshot'][:12]}.json{calibrated}")


def _inline(value: Any) -> str:
    if value is None or value == {} or value == []:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shown(text if len(text) <= CUT else text[:CUT] + "…")


def results_lines(results: Any) -> Iterator[str]:
    """Counts as bars, values with their errors, parts one after another; anything else as JSON, cut."""
    match results:
        case None:
            return
        case {"counts": Mapping() as counts}:
            yield from _counts(results, counts)
        case {"value": int() | float()}:
            yield _value(results)
        case {"parts": [*parts]}:
            for index, part in enumerate(parts[:MOST]):
                yield f"part {index + 1} of {len(parts)}"
                yield from (f"  {line}" for line in results_lines(part))
            if len(parts) > MOST:
                yield f"... and {count(len(parts) - MOST, 'more part')}"
        case _:
            yield _inline(results)


def _counts(results: Mapping[str, Any], counts: Mapping[str, int]) -> Iterator[str]:
    bits = results.get("bits")
    if isinstance(bits, Sequence) and bits:
        named = " ".join(map(str, bits[:8])) + (f" … {bits[-1]}" if len(bits) > 8 else "")
        shots = count(int(results.get("shots") or sum(counts.values())), "shot")
        yield f"{shots}, bits from left to right: {safe(named)}"
    yield from bars(counts)


def _value(results: Mapping[str, Any]) -> str:
    error, shots = results.get("std_error"), results.get("shots")
    told = f"{number(results['value'])}"
    if error:
        told += f" ± {number(error)}"
    return f"value {told} ({count(int(shots), 'shot')})" if shots else f"value {told} (exact)" if not error else told
