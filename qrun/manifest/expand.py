"""From what is written to what is meant: defaults merged, a matrix unfolded, jobs named, templates found. All pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Final

from qrun.canonical import canonical, number

MOST: Final = 100_000  # jobs that all matrices and runs of an experiment may make
WORK: Final = 10_000_000  # combinations times entries of include or exclude
BARE: Final = re.compile(r"[A-Za-z0-9_./+-]*[A-Za-z_./+-][A-Za-z0-9_./+-]*")
OTHERWISE: Final = re.compile(
    r"(?i)null|true|false|[-+]?\.(?:inf|nan)|[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?"
)

Path = tuple[str | int, ...]
Combination = Mapping[str, Any]


class Conflict(Exception):
    """A matrix that cannot be unfolded; `path` leads from the matrix to what is wrong."""

    def __init__(self, path: Path, message: str, hint: str | None = None) -> None:
        self.path = path
        self.message = message
        self.hint = hint
        super().__init__(message)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Maps are merged deeply; anything else above replaces what is below. Neither argument is changed."""
    result = dict(below)
    for key, value in above.items():
        other = result.get(key)
        if type(value) is dict and type(other) is dict:
            result[key] = merged(other, value)
        else:
            result[key] = value
    return result


def combinations(matrix: Mapping[str, Any], *, most: int = MOST) -> list[Combination]:
    """The combinations of a matrix in their order; Conflict where they are more than `most`.

    `exclude` takes away what agrees with all of an entry's values. Then each entry of `include` is added to every
    combination of the axes in which it changes no axis; an entry that fits nowhere becomes a combination of its own.
    """
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    count = prod(map(len, axes.values())) if axes else len(matrix.get("include", ()))
    if count > most:
        raise Conflict((), f"makes {count} jobs; all matrices of an experiment may make {MOST}")
    for part in ("include", "exclude"):
        if axes and count * len(matrix.get(part, ())) > WORK:
            raise Conflict((part,), f"has too many entries for {count} combinations", "write the combinations out")
    for place, entry in enumerate(matrix.get("exclude", ())):
        for name in entry:
            if name not in axes:
                raise Conflict(("exclude", place, name), f"{json.dumps(name)} is not an axis of this matrix")
    plain = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    kept = [combination for combination in plain if not _excluded(combination, matrix.get("exclude", ()))]
    grown: list[dict[str, Any]] = [dict(combination) for combination in kept]
    alone: list[dict[str, Any]] = []
    for entry in matrix.get("include", ()):
        fitting = [
            grown[place]
            for place, combination in enumerate(kept)
            if all(name not in combination or _same(combination[name], value) for name, value in entry.items())
        ]
        for combination in fitting:
            combination.update(entry)
        if not fitting:
            alone.append({name: entry[name] for name in (*axes, *entry) if name in entry})
    return [*grown, *alone]


def job_name(key: str, combination: Combination) -> str:
    """`rabi:omega=0.5,n=3`: axes in written order, numbers as RFC 8785 spells them, texts bare where that is clear."""
    if not combination:
        return key
    return f"{key}:{','.join(f'{axis}={spelled(value)}' for axis, value in combination.items())}"


def spelled(value: Any) -> str:
    """A value in a job's name."""
    match value:
        case bool() | None:
            return json.dumps(value)
        case int() | float():
            return number(value)
        case str() if BARE.fullmatch(value) and not OTHERWISE.fullmatch(value):
            return value
        case str():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return canonical(value).decode()


def texts(value: Any) -> Iterator[str]:
    """Every text among the values, deep down; keys are none."""
    kind = type(value)
    if kind is str:
        yield value
    elif kind is dict:
        for item in value.values():
            yield from texts(item)
    elif kind is list:
        for item in value:
            yield from texts(item)


def places(value: Any, test: Callable[[str], bool], path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The paths of the texts that pass a test."""
    if isinstance(value, str):
        if test(value):
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, test, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, test, (*path, index))


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """The same value with each template replaced by what it stands for; what holds none is shared, not copied."""
    match value:
        case str():
            return values.get(value, value)
        case dict():
            found = {key: filled(item, values) for key, item in value.items()}
            return found if any(found[key] is not value[key] for key in value) else value
        case list():
            items = [filled(item, values) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        case _:
            return value


def plain_numbers(value: Any) -> Any:
    """The numbers in the form that is hashed: 1.0 is 1. What holds none such is shared, not copied."""
    match value:
        case float() if value.is_integer() and abs(value) < 2**53:
            return int(value)
        case dict():
            found = {key: plain_numbers(item) for key, item in value.items()}
            return found if any(found[key] is not value[key] for key in value) else value
        case list():
            items = [plain_numbers(item) for item in value]
            return items if any(new is not old for new, old in zip(items, value, strict=True)) else value
        case _:
            return value


def seconds(value: float | str | None) -> float | None:
    """A time limit, in seconds: a number, or `90s`, `10m`, `2h`."""
    if isinstance(value, str):
        return float(value[:-1]) * {"s": 1, "m": 60, "h": 3600}[value[-1]]
    return None if value is None else float(value)


def circles(needs: Mapping[str, Sequence[str]], most: int = 20) -> list[list[str]]:
    """Jobs that need each other in a circle, each circle with its first one again at the end."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in needs:
        trail: dict[str, None] = {} if start in done else {start: None}
        waiting = [iter(needs[name]) for name in trail]
        while waiting and len(found) < most:
            following = next(waiting[-1], None)
            if following is None:
                waiting.pop()
                done.add(trail.popitem()[0])
            elif following in trail:
                names = list(trail)
                found.append([*names[names.index(following) :], following])
            elif following not in done and following in needs:
                trail[following] = None
                waiting.append(iter(needs[following]))
    return found


def _excluded(combination: Combination, entries: Sequence[Combination]) -> bool:
    return any(all(_same(combination[name], value) for name, value in entry.items()) for entry in entries)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: 1 is 1.0 but not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (dict, list)) and type(one) is type(other):
        return canonical(one) == canonical(other)
    return bool(one == other)
