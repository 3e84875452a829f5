"""Writes manifest.md from manifest.in.md and the manifest's schema, so that the reference cannot lag behind.

`python docs/generate.py` writes, `python docs/generate.py --check` only says whether there is something to write. In
the text a line `<!-- fields of NAME -->` stands for the table of all fields of that part of the schema.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
SCHEMA: Final = HERE.parent / "schemas" / "manifest.schema.json"
TEXT: Final = HERE / "manifest.in.md"
PAGE: Final = HERE / "manifest.md"
NOTE: Final = "<!-- made by docs/generate.py from manifest.in.md and the schema; edit those -->\n\n"
PLACE: Final = re.compile(r"^<!-- fields of (\w+) -->$", re.MULTILINE)

RUN, LABEL, NONE = "a new run", "a new label", "nothing"
CHANGE: Final[Mapping[str, str]] = {  # what a job's field means for what was run already
    "provider": "a new run, where its type or site is another",
    "device": RUN,
    "kind": RUN,
    "program": RUN,
    "shots": RUN,
    "params": RUN,
    "observable": RUN,
    "options": RUN,
    "tags": LABEL,
    "description": LABEL,
    "submit": NONE,
    "retry": NONE,
    "timeout": NONE,
    "needs": NONE,
    "matrix": "other jobs",
    "runs": "other jobs",
}


def page(text: str, schema: Mapping[str, Any]) -> str:
    """The text with its tables; pure."""
    return NOTE + PLACE.sub(lambda found: "\n".join(table(schema, found[1])), text)


def table(schema: Mapping[str, Any], part: str) -> Iterator[str]:
    """All fields of one part, nested ones as `submit.with`. Fields of a job say what a change of theirs means."""
    whole = schema["$defs"][part]
    job = part == "job"
    yield "| field | value | meaning |" + (" a change means |" if job else "")
    yield "|---|---|---|" + ("---|" if job else "")
    for name, field in whole["properties"].items():
        outer = resolved(schema, field)
        needed = name in whole.get("required", ())
        yield row(name, outer, needed) + (f" {CHANGE[name]} |" if job else "")
        for inner, below in nested(schema, name, outer):
            yield row(inner, below, False) + (" |" if job else "")


def row(name: str, field: Mapping[str, Any], needed: bool) -> str:
    means = str(field.get("x-means", "")) + (" (required)" if needed else "")
    said = str(field.get("description", ""))
    short = [text for example in field.get("examples", ()) if len(text := shown(example)) <= 60]
    if short:
        said += " For example " + " or ".join(f"`{text}`" for text in short) + "."
    return f"| `{name}` | {cell(means)} | {cell(said)} |"


def nested(schema: Mapping[str, Any], name: str, field: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The fields inside a field, wherever an alternative or an item has some; those of `defaults` are the job's own."""
    if name == "defaults":
        return
    inside: list[Mapping[str, Any]] = [field, *(resolved(schema, one) for one in field.get("anyOf", ()))]
    for one in inside:
        for inner, below in one.get("properties", {}).items():
            yield f"{name}.{inner}", resolved(schema, below)
        for inner, below in resolved(schema, one.get("items", {})).get("properties", {}).items():
            if name != "program":  # a list of programs has the fields that one has
                yield f"{name}[].{inner}", resolved(schema, below)


def resolved(schema: Mapping[str, Any], field: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference leads to, with what stands beside it."""
    if "$ref" not in field:
        return field
    return {**schema["$defs"][field["$ref"].rpartition("/")[2]], **field}


def shown(value: Any) -> str:
    """An example as one would write it in YAML on one line."""
    match value:
        case dict():
            return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(shown, value)) + "]"
        case str() if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ._/-]*", value):
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    wanted = page(TEXT.read_text(encoding="utf-8"), json.loads(SCHEMA.read_text(encoding="utf-8")))
    there = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    if arguments == ["--check"]:
        if there != wanted:
            sys.stderr.write('docs/manifest.md is out of date; run "python docs/generate.py"\n')
        return int(there != wanted)
    if arguments:
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 64
    if there != wanted:
        PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
