"""Text becomes plain values: YAML 1.2's core types and nothing else, built from the parser's events.

PyYAML's own loaders speak YAML 1.1 (`on` is true, `1:30` is 90), keep the last of two equal keys, run tags, and build a
node for every scalar. Here one pass over the events makes dicts, lists and scalars, and refuses what would surprise.

Positions are not kept: for 100 000 jobs they would cost more memory than the values. Whoever found a problem asks
`locate` for the places of a few paths, which is a second pass over the same bytes.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner

from qrun.canonical import EXACT
from qrun.errors import ManifestError, Problem
from qrun.manifest.secrets import LONG, SECRET_NAME, SECRET_TEXT
from qrun.manifest.words import show

DEPTH: Final = 64
ALIASES: Final = 100
EXPANDED: Final = 100_000  # nodes that all aliases together may stand for
VALUES: Final = 1_500_000  # entries of all maps and lists of a file: more than ten for each of 100 000 jobs
REMEMBERED: Final = 4096  # scalars whose value is kept, so that equal texts are one object

Path: TypeAlias = tuple[str | int, ...]
Event: TypeAlias = Any
Next: TypeAlias = Callable[[], Event]

CONSTANTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
STARTS: Final = frozenset("-+.0123456789")
WHOLE: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
DECIMAL: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
PADDED: Final = re.compile(r"[-+]?[0-9]+")  # `0100`: eight times eight once, a hundred now, so it stays text
ENDLESS: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(kw_only=True, slots=True)
class Document:
    """One document of a file. `lines` holds the line of each key under `jobs`, in order; `index` counts all documents.

    `suspicious` says that some key or text of the file looks like a secret, so that a search is worth its time.
    """

    index: int
    line: int
    value: Any
    lines: array[int] = field(default_factory=lambda: array("L"))
    suspicious: bool = False


class Place(NamedTuple):
    """Where something is written: its key (None in a list) and its value, each as line and column from 1."""

    key: tuple[int, int] | None
    value: tuple[int, int]


class _Irregular(Exception):
    """The quick pass met something that only the careful pass can describe."""


class _Stop(Exception):
    """Going on would only produce noise."""


def compose(data: bytes, file: str) -> list[Document]:
    """The documents that are not empty; ManifestError with every problem of the text."""
    try:
        return _Composer(data, file, None).documents()
    except (_Irregular, YAMLError):
        pass
    problems: list[Problem] = []
    try:
        _Composer(data, file, problems).documents()
    except _Stop:
        pass
    except YAMLError as error:
        problems.append(_syntax(error, data, file))
    raise ManifestError(*problems)


def locate(data: bytes, wanted: Iterable[tuple[int, Path]]) -> dict[tuple[int, Path], Place]:
    """The places of those (document, path) that are written in the text; a path into an alias leads to its anchor."""
    open_: dict[tuple[int, Path], tuple[int, Path]] = {path: path for path in wanted}
    found: dict[tuple[int, Path], Place] = {}
    for _ in range(ALIASES):
        seeker = _Seeker(data, open_.values())
        seeker.run()
        found |= {asked: seeker.found[path] for asked, path in open_.items() if path in seeker.found}
        open_ = {asked: led for asked, path in open_.items() if (led := seeker.led(path)) is not None}
        if not open_:
            break
    return found


def resolve(text: str) -> Any:
    """The value of a plain scalar; ValueError for a number that no JSON reader would keep."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if text[0] not in STARTS:
        return text
    if WHOLE.fullmatch(text) or BASED.fullmatch(text):
        value = int(text, 0) if len(text) < 40 else EXACT + 1
        if abs(value) > EXACT:
            raise ValueError(f"{show(text)} is beyond ±(2^53 - 1), which not every reader keeps")
        return value
    if DECIMAL.fullmatch(text) and not PADDED.fullmatch(text):
        if not math.isfinite(number := float(text)):
            raise ValueError(f"{show(text)} is beyond the range of numbers")
        return number
    if ENDLESS.fullmatch(text):
        raise ValueError(f"{show(text)} is not a finite number")
    return text


class _Composer:
    """One pass over one text. Without a list for problems it gives up at the first one, which keeps the pass quick."""

    def __init__(self, data: bytes, file: str, problems: list[Problem] | None) -> None:
        self.next = events(data)
        self.file = file
        self.problems = problems
        self.plain: dict[str, Any] = dict(CONSTANTS)
        self.keys: dict[str, str] = {}
        self.anchors: dict[str, Any] = {}
        self.open: set[str] = set()
        self.aliases = 0
        self.expanded = 0
        self.values = 0
        self.suspicious = False
        self.lines: array[int] = array("L")

    def documents(self) -> list[Document]:
        found: list[Document] = []
        index = 0
        while type(event := self.next()) is not StreamEndEvent:
            if type(event) is not DocumentStartEvent:
                continue
            self.anchors, self.lines = {}, array("L")
            event = self.next()
            line = event.start_mark.line + 1
            value = self.node(event, 1)
            if value is not None:
                found.append(Document(index=index, line=line, value=value, lines=self.lines))
            index += 1
        if self.problems:
            raise _Stop
        for document in found:
            document.suspicious = self.suspicious
        return found

    def node(self, event: Event, depth: int, lines: array[int] | None = None) -> Any:
        """The value that begins with this event."""
        kind = type(event)
        if kind is AliasEvent:
            return self.alias(event, depth)
        if event.tag is not None:
            self.complain(event, f"the tag {show(_tag(event.tag))} is not allowed", "a manifest holds plain values")
        if kind is ScalarEvent:
            value = self.scalar(event)
            if event.anchor is not None:
                self.anchors[event.anchor] = value
            return value
        if depth > DEPTH:
            self.complain(event, f"more than {DEPTH} maps and lists stand in each other")
            raise _Stop
        anchor = event.anchor
        if anchor is None:
            return self.mapping(depth, lines) if kind is MappingStartEvent else self.sequence(depth)
        self.open.add(anchor)
        value = self.mapping(depth, lines) if kind is MappingStartEvent else self.sequence(depth)
        self.open.discard(anchor)
        self.anchors[anchor] = value
        return value

    def mapping(self, depth: int, lines: array[int] | None) -> dict[str, Any]:
        following, plain, keys = self.next, self.plain, self.keys
        careful = self.problems is not None
        places: dict[str, Any] = {}
        result: dict[str, Any] = {}
        while True:
            event = following()
            kind = type(event)
            if kind is MappingEndEvent:
                self.count(event, len(result))
                return result
            if len(result) == VALUES:
                self.count(event, VALUES + 1)
            if kind is not ScalarEvent or event.tag is not None or event.anchor is not None:
                self.complain_of_key(event)
                self.skip(event)
                self.skip(following())
                continue
            text = event.value
            key = keys.get(text)
            if key is None:
                key = self.key(event, remember=lines is None)
            if lines is not None:
                lines.append(event.start_mark.line + 1)
            if careful:
                places.setdefault(key, event.start_mark)
            if key in result:
                first = places.get(key)
                place = f"; the first is at {first.line + 1}:{first.column + 1}" if first is not None else ""
                self.complain(event, f"{show(key)} stands twice in one map{place}", "keep one of them")
            event = following()
            if type(event) is ScalarEvent and event.tag is None and event.anchor is None:
                text = event.value
                if event.implicit[0] and text in plain:
                    result[key] = plain[text]
                else:
                    result[key] = self.scalar(event)
            else:
                below = self.lines if depth == 1 and key == "jobs" else None
                result[key] = self.node(event, depth + 1, below)

    def sequence(self, depth: int) -> list[Any]:
        following, plain = self.next, self.plain
        result: list[Any] = []
        while True:
            event = following()
            kind = type(event)
            if kind is SequenceEndEvent:
                self.count(event, len(result))
                return result
            if len(result) == VALUES:
                self.count(event, VALUES + 1)
            if kind is ScalarEvent and event.tag is None and event.anchor is None:
                text = event.value
                result.append(plain[text] if event.implicit[0] and text in plain else self.scalar(event))
            else:
                result.append(self.node(event, depth + 1))

    def key(self, event: Event, *, remember: bool) -> str:
        """Keys are text as written, so `1` and `"1"` are the same key; a plain `<<` is YAML 1.1's merge key."""
        key: str = event.value
        if key == "<<" and event.implicit[0]:
            self.complain(event, 'merge keys ("<<") are not part of YAML 1.2', 'use "defaults", or repeat the fields')
        if SECRET_NAME.search(key):
            self.suspicious = True
        if remember and len(self.keys) < REMEMBERED:
            self.keys[key] = key
        return key

    def scalar(self, event: Event) -> Any:
        text: str = event.value
        value: Any = text
        if event.implicit[0]:
            if text in self.plain:
                return self.plain[text]
            try:
                value = resolve(text)
            except ValueError as error:
                self.complain(event, str(error), "quote it if it is text")
            if len(self.plain) < REMEMBERED:
                self.plain[text] = value
        if len(text) >= LONG and SECRET_TEXT.match(text):
            self.suspicious = True
        return value

    def alias(self, event: Event, depth: int) -> Any:
        name = event.anchor
        if name in self.open:
            self.complain(event, f"{show('*' + name)} stands inside of what it repeats")
            return None
        if name not in self.anchors:
            self.complain(event, f"{show('*' + name)} repeats nothing", f"write {show('&' + name)} before it")
            return None
        self.aliases += 1
        value = self.anchors[name]
        self.expanded += _extent(value, EXPANDED - self.expanded + 1)
        if self.aliases > ALIASES:
            self.complain(event, f"more than {ALIASES} aliases", 'use "defaults" or "matrix"')
            raise _Stop
        if self.expanded > EXPANDED:
            self.complain(event, f"aliases stand for more than {EXPANDED} values", 'use "defaults" or "matrix"')
            raise _Stop
        if depth + _depth(value) > DEPTH + 1:
            self.complain(event, f"more than {DEPTH} maps and lists stand in each other")
            raise _Stop
        return value

    def count(self, event: Event, more: int) -> None:
        """Many small values cost far more memory than their text."""
        self.values += more
        if self.values > VALUES:
            line, column = _position(event)
            message, hint = f"holds more than {VALUES} values", "use matrix, or several files"
            raise ManifestError(Problem(file=self.file, line=line, column=column, message=message, hint=hint))

    def skip(self, event: Event) -> None:
        """What follows a key that cannot be one, read so that later problems are found as well."""
        if type(event) in (MappingStartEvent, SequenceStartEvent):
            self.node(event, 2)

    def complain_of_key(self, event: Event) -> None:
        hint = 'quote a template: "{{ … }}"' if type(event) is MappingStartEvent else None
        self.complain(event, "a key must be plain text, without anchor, alias or tag", hint)

    def complain(self, event: Event, message: str, hint: str | None = None) -> None:
        if self.problems is None:
            raise _Irregular
        mark = event.start_mark
        self.problems.append(
            Problem(file=self.file, line=mark.line + 1, column=mark.column + 1, message=message, hint=hint)
        )


class _Seeker:
    """Walks the events with the path at hand and notes the places of the wanted ones."""

    def __init__(self, data: bytes, wanted: Iterable[tuple[int, Path]]) -> None:
        self.next = events(data)
        self.wanted = frozenset(wanted)
        self.found: dict[tuple[int, Path], Place] = {}
        self.anchors: dict[str, tuple[int, Path]] = {}
        self.aliases: dict[tuple[int, Path], tuple[int, Path]] = {}

    def run(self) -> None:
        index = 0
        try:
            while type(event := self.next()) is not StreamEndEvent:
                if type(event) is DocumentStartEvent:
                    self.visit(self.next(), index, (), None)
                    index += 1
        except YAMLError:
            return  # the file changed since it was read; what is known so far stays

    def led(self, path: tuple[int, Path]) -> tuple[int, Path] | None:
        """Where a path goes on behind the alias on its way; None where there is none."""
        index, steps = path
        if path in self.found:
            return None
        for length in range(len(steps), 0, -1):
            target = self.aliases.get((index, steps[:length]))
            if target is not None:
                return (index, target[1] + steps[length:])
        return None

    def visit(self, event: Event, index: int, path: Path, key: tuple[int, int] | None) -> None:
        here = (index, path)
        if here in self.wanted:
            self.found[here] = Place(key, _position(event))
        kind = type(event)
        if kind is AliasEvent:
            if event.anchor in self.anchors:
                self.aliases[here] = self.anchors[event.anchor]
            return
        if event.anchor is not None:
            self.anchors[event.anchor] = here
        if len(path) > DEPTH:
            return
        if kind is MappingStartEvent:
            while type(name := self.next()) is not MappingEndEvent:
                self.visit(self.next(), index, (*path, name.value), _position(name))
        elif kind is SequenceStartEvent:
            position = 0
            while type(item := self.next()) is not SequenceEndEvent:
                self.visit(item, index, (*path, position), None)
                position += 1


def events(data: bytes) -> Next:
    """The parser's next event: by libyaml where PyYAML has it, else by PyYAML's own, slower parser."""
    try:
        from yaml._yaml import CParser
    except ImportError:
        return slow_events(data)
    following: Next = CParser(data).get_event
    return following


def slow_events(data: bytes) -> Next:
    from yaml.parser import Parser

    class Slow(Reader, Scanner, Parser):
        def __init__(self) -> None:
            Reader.__init__(self, data)
            Scanner.__init__(self)
            Parser.__init__(self)

    following: Next = Slow().get_event
    return following


def _position(event: Event) -> tuple[int, int]:
    return (event.start_mark.line + 1, event.start_mark.column + 1)


def _tag(tag: str) -> str:
    return "!!" + tag.removeprefix("tag:yaml.org,2002:") if tag.startswith("tag:yaml.org,2002:") else tag


def _extent(value: Any, limit: int) -> int:
    """How many values a value stands for, counted up to the limit."""
    count, waiting = 0, [value]
    while waiting and count < limit:
        item = waiting.pop()
        count += 1
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return count


def _depth(value: Any) -> int:
    """Levels of maps and lists; only asked of what `_extent` found small."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            below.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        level, depth = below, depth + 1
        if depth > DEPTH + 1:
            break
    return depth


SENTENCES: Final[Sequence[tuple[str, str, str | None]]] = (
    ("tab character", "a tab stands where spaces belong", "indent with spaces"),
    ("alphabetic or numeric", 'a name was expected after "*" or "&"', 'quote a text that begins so: "*"'),
    ("block sequence entries", 'an item ("- …") cannot stand here', "begin a new line, and check the indentation"),
    ("mapping keys are not allowed", 'a "? " cannot stand here', "quote the text"),
    ("node content", "a value was expected here", "close what is open, or quote the text"),
    ("document indicator", "a quoted text is not closed", "close it with the same quote"),
    ("mapping values are not allowed", 'a ":" stands where no key can be', "check the indentation, or quote the text"),
    ("did not find expected key", "a key was expected here", "check the indentation"),
    ("expected <block end>", "a key was expected here", "check the indentation"),
    ("did not find expected '-'", 'an item ("- …") was expected here', "check the indentation"),
    ("found character that cannot start", "this character cannot begin a value", "quote it, and indent with spaces"),
    ("found character '", "this character cannot begin a value", "quote it, and indent with spaces"),
    ("could not find expected ':'", 'a key without ":"', 'write "key: value"'),
    ("unexpected end of stream", "a quoted text is not closed", "close it with the same quote"),
    ("',' or ']'", 'a list "[…]" is not closed', 'write "," between items and "]" at the end'),
    ("',' or '}'", 'a map "{…}" is not closed', 'write "," between entries and "}" at the end'),
    ("escape", "unknown escape in a quoted text", "write \\\\ for a backslash, or use single quotes"),
    ("incompatible YAML document", "the %YAML line names a version other than 1.2", "remove the line"),
    ("unknown directive", "an unknown % line", "remove the line"),
    ("<document start>", 'one document ends here and no "---" follows', 'check the indentation, or write "---"'),
    ("undefined tag handle", "a tag is not allowed", "a manifest holds plain values"),
)


def _syntax(error: YAMLError, data: bytes, file: str) -> Problem:
    """The parser's complaint in our words, at the place where it stopped."""
    if isinstance(error, ReaderError):
        return _unreadable(data, file)
    mark = error.problem_mark or error.context_mark if isinstance(error, MarkedYAMLError) else None
    words = str(getattr(error, "problem", None) or "the text cannot be read as YAML")
    message, hint = next(((said, cure) for part, said, cure in SENTENCES if part in words), (words, None))
    if mark is None:
        return Problem(file=file, message=message, hint=hint)
    start = getattr(error, "context_mark", None)
    if start is not None and "not closed" in message:
        if "quoted" in message or mark.line > data.rstrip().count(b"\n"):
            mark = start  # the end of the file tells nobody where the end is missing
        else:
            message = f"{message}; it begins at {start.line + 1}:{start.column + 1}"
    return Problem(file=file, line=mark.line + 1, column=mark.column + 1, message=message, hint=hint)


def _unreadable(data: bytes, file: str) -> Problem:
    text = data.decode("utf-8", "replace")
    found = next((i for i, sign in enumerate(text) if not sign.isprintable() and sign not in "\t\n\r\x85\u2028"), 0)
    line, column = place_of(text, found)
    message = f"the character U+{ord(text[found]):04X} cannot stand in a manifest" if text else "cannot be read"
    return Problem(file=file, line=line, column=column, message=message, hint='write it as an escape in "…"')


def place_of(text: str, index: int) -> tuple[int, int]:
    """Line and column of a character, from 1."""
    return (text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index))
