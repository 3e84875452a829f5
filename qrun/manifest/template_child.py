"""The process in which templates are compiled and filled, so that what they do can be limited and stopped.

It is started by file name (see `template.Renderer`), imports nothing of qrun, and speaks frames over its two pipes:
four bytes of length, then JSON. Whatever a template does ends in one value or one fault; limits of the system stand
behind those of the sandbox. An object whose text holds an address never becomes text, so equal input makes equal
output.

    in   {"templates": [...], "shared": {...}, "text": bool, "cpu": seconds}       starts a fill, no answer
    in   {"overlays": [...], "pairs": [[template, overlay], ...]}                   answered by
    out  [[value] | [null, message, line, undefined], ...]                          in as many frames as it takes
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import partial, wraps
from types import TracebackType
from typing import Any, Final, TypeAlias

Answer: TypeAlias = list[Any]  # [value], or [None, message, line, undefined]

FRAME: Final = 1 << 20  # bytes of answers after which a frame is sent
VALUE: Final = 4 << 20  # characters that a template may make
ITEMS: Final = 1_000_000  # values inside one value
DEPTH: Final = 64
BITS: Final = 13_000  # of an integer: what the interpreter turns into text, and enough for any circuit
RANGE: Final = 100_000
WIDTH: Final = 1_000  # padding
NO_MEMORY: Final = 3  # the exit code where not even the request fits


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


FILTERS: Final = _set(
    "abs batch capitalize center count d default dictsort first float format groupby int items join last length list "
    "lower map max min reject rejectattr replace reverse round select selectattr slice sort string sum title tojson "
    "trim truncate unique upper wordcount"
)
LAZY: Final = _set("batch items map reject rejectattr reverse select selectattr slice unique")
TESTS: Final = _set(
    "boolean defined divisibleby eq equalto even false float ge greaterthan gt in integer iterable le lessthan lower "
    "lt mapping ne none number odd sameas sequence string true undefined upper == != > >= < <="
)
METHODS: Final[Mapping[str, frozenset[str]]] = {
    "str": _set(
        "capitalize casefold count endswith find format index isalnum isalpha isdigit islower isupper join lower "
        "lstrip partition removeprefix removesuffix replace rfind rpartition rsplit rstrip split splitlines startswith "
        "strip title upper"
    ),
    "dict": _set("get items keys values"),
    "list": _set("count index"),
    "tuple": _set("count index"),
    "int": _set("bit_length"),
    "float": _set("is_integer"),
    "LoopContext": _set(
        "changed cycle depth depth0 first index index0 last length nextitem previtem revindex revindex0"
    ),
}
PERCENT: Final = re.compile(r"%(?:\([^)]*\))?[-+ #0]*(?:\*|\d{4}|\d*\.(?:\*|\d{4}))")  # a wide field
BRACE: Final = re.compile(r":[^}]*\d{4}")  # the same for str.format


class Expired(BaseException):
    """The time of a fill is used up; not an Exception, so that nothing in between can take it for its own."""


class Refused(Exception):
    """What the sandbox does not do; its text is the fault's."""


def main() -> None:
    memory, parent = map(int, sys.argv[1:])
    confine(memory, parent)
    try:
        load()
    except ImportError as error:
        return write([f"templates cannot be filled in: {error}; install qrun's requirements"])
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # the pipes stay open, nothing can be opened
    signal.signal(signal.SIGPROF, expire)
    sandbox = make_sandbox()
    write([])
    fill: Fill | None = None
    while (asked := read()) is not None:
        if "templates" in asked:
            fill = Fill(sandbox, asked)
            continue
        assert fill is not None
        for answers in fill.answers(asked["overlays"], asked["pairs"]):
            write(answers)
    return None


def confine(memory: int, parent: int) -> None:
    """No core file, no file longer than nothing, no more than this much memory, and no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_AS, memory)):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(limit, (value, value))
        except (OSError, ValueError):
            if sys.platform.startswith("linux"):
                raise
    if sys.platform.startswith("linux"):
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it was gone before it could take us along


def load() -> None:
    """Imports all that templates may come to need, for the time when no file can be opened any more."""
    import codecs
    import unicodedata  # noqa: F401 - the compiler loads it for names beyond ASCII
    import warnings

    import jinja2.debug  # Jinja2 loads it when a template fails
    import jinja2.sandbox  # noqa: F401

    codecs.lookup("unicode-escape")
    warnings.simplefilter("ignore")


def expire(*_: Any) -> None:
    raise Expired


# --- frames -----------------------------------------------------------------------------------------------------------


def read() -> Any:
    """The next frame's value; None once the parent has closed its end."""
    head = _read(4)
    return None if head is None else json.loads(_read(int.from_bytes(head, "big")) or b"")


def write(value: Any) -> None:
    data = json.dumps(value, separators=(",", ":")).encode()
    view = memoryview(len(data).to_bytes(4, "big") + data)
    while view:
        view = view[os.write(1, view) :]


def _read(size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        piece = os.read(0, min(size - len(data), 1 << 20))
        if not piece:
            return None
        data += piece
    return bytes(data)


# --- one fill ---------------------------------------------------------------------------------------------------------


class Fill:
    """One call of `Renderer.fill`: its templates, compiled when first wanted, and the time that it has left."""

    def __init__(self, sandbox: Any, asked: Mapping[str, Any]) -> None:
        self.sandbox = sandbox
        self.sources: list[str] = asked["templates"]
        self.shared: dict[str, Any] = asked["shared"]
        self.text: bool = asked["text"]
        self.cpu: float = asked["cpu"]
        self.compiled: dict[int, Callable[[dict[str, Any]], Any] | Answer] = {}
        self.began = time.process_time()
        self.culprit: int | None = None
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        soft = math.ceil(self.began + self.cpu) + 1
        if hard == resource.RLIM_INFINITY or soft < hard:
            resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))

    def answers(self, overlays: Sequence[dict[str, Any]], pairs: Sequence[tuple[int, int]]) -> Iterator[list[Answer]]:
        at = 0
        while at < len(pairs):
            some = self._some(overlays, pairs[at:])
            at += len(some)
            yield some

    def _some(self, overlays: Sequence[dict[str, Any]], pairs: Sequence[tuple[int, int]]) -> list[Answer]:
        """Answers for the first pairs: as many as fill a frame, or all once the time is used up."""
        done: list[Answer] = []
        left = self.cpu - (time.process_time() - self.began)
        try:
            if self.culprit is not None or left <= 0:
                raise Expired
            signal.setitimer(signal.ITIMER_PROF, left)
            size = 0
            for template, overlay in pairs:
                answer, cost = self._answer(template, self.shared | overlays[overlay])
                done.append(answer)
                size += cost
                if size > FRAME:
                    break
            signal.setitimer(signal.ITIMER_PROF, 0)
        except Expired as error:
            if self.culprit is None:
                self.culprit = pairs[len(done)][0] if len(done) < len(pairs) else pairs[-1][0]
            line = line_of(error.__traceback__)
            done.extend(self._late(template, line) for template, _ in pairs[len(done) :])
        return done

    def _late(self, template: int, line: int | None) -> Answer:
        if template == self.culprit:
            return fault(f"the template took longer than {self.cpu:g} s and was stopped", line)
        return fault(f"was not filled in, because another template took longer than {self.cpu:g} s and was stopped")

    def _answer(self, template: int, context: dict[str, Any]) -> tuple[Answer, int]:
        """The answer and about how many characters it has."""
        made = self.compiled.get(template)
        if made is None:
            made = self.compiled[template] = self._compile(self.sources[template])
        if isinstance(made, list):
            return made, 100
        try:
            size = Size()
            value = plain(made(context), size)
        except Exception as error:
            # whatever a template does is its author's to mend, so this is the outermost line of it
            return explain(error, context), 200
        return [value], size.characters

    def _compile(self, source: str) -> Callable[[dict[str, Any]], Any] | Answer:
        try:
            return compiled(self.sandbox, source, self.text)
        except Exception as error:
            # as above
            return explain(error, {})


def compiled(sandbox: Any, source: str, text: bool) -> Callable[[dict[str, Any]], Any]:
    from jinja2 import nodes

    tree = sandbox.parse(source)
    for node in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends, nodes.Block)):
        word = "from" if isinstance(node, nodes.FromImport) else type(node).__name__.lower()
        raise Foreign(f'"{word}" is not available: a template is one text of its own', node.lineno)
    expression = None if text else only_expression(sandbox, source)
    if expression is not None:
        made: Callable[[dict[str, Any]], Any] = sandbox.compile_expression(expression, undefined_to_none=False)
        return made
    return partial(whole, sandbox.from_string(source))


class Foreign(Exception):
    """A statement that would need another template."""

    def __init__(self, message: str, lineno: int) -> None:
        super().__init__(message)
        self.lineno = lineno


def only_expression(sandbox: Any, source: str) -> str | None:
    """What stands between the braces where the text is one `{{ … }}` and nothing else."""
    tokens = list(sandbox.lex(source))
    kinds = [kind for _, kind, _ in tokens]
    if kinds[:1] != ["variable_begin"] or kinds[-1] != "variable_end" or kinds.count("variable_begin") != 1:
        return None
    return "".join(value for _, _, value in tokens[1:-1])


def whole(template: Any, context: dict[str, Any]) -> str:
    """The text that a template makes, given up as soon as it is too long."""
    pieces: list[str] = []
    size = 0
    for piece in template.generate(context):
        size += len(piece)
        if size > VALUE:
            raise Refused(TOO_LONG)
        pieces.append(piece)
    return "".join(pieces)


TOO_LONG: Final = f"the value is larger than {VALUE >> 20} MiB"


# --- values -----------------------------------------------------------------------------------------------------------


class Size:
    def __init__(self) -> None:
        self.characters = 0
        self.items = 0

    def add(self, characters: int) -> None:
        self.characters += characters
        self.items += 1
        if self.characters > VALUE or self.items > ITEMS:
            raise Refused(TOO_LONG)


def plain(value: Any, size: Size, depth: int = 0) -> Any:
    """The value in JSON's types; refuses what is none of them."""
    if isinstance(value, str):
        size.add(len(value) if value.isascii() else len(value.encode()))
        return str(value)
    if value is None or isinstance(value, bool):
        size.add(5)
        return value
    if isinstance(value, int):
        if value.bit_length() > BITS:
            raise Refused("the number is too large")
        size.add(1 + value.bit_length() // 3)
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Refused(f"the value is {value}, which is not a number that can be written down")
        size.add(20)
        return float(value)
    if depth > DEPTH:
        raise Refused(f"the value is nested more than {DEPTH} deep")
    if isinstance(value, Mapping):
        return {_key(key, size): plain(item, size, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, range, KeysView, ValuesView, ItemsView)):
        size.add(2)
        return [plain(item, size, depth + 1) for item in value]
    str(value)  # raises where the value is undefined, with its name
    raise Refused(f"the value is {_what(value)}, not text, a number, a truth value, a list or a map")


def _key(key: Any, size: Size) -> str:
    if not isinstance(key, str):
        raise Refused(f"the key {key!r} of a map is not text" if isinstance(key, (int, float)) else NO_KEY)
    size.add(len(key))
    return str(key)


NO_KEY: Final = "a key of a map is not text"


def _what(value: Any) -> str:
    return "a function" if callable(value) else f"an object ({type(value).__name__})"


# --- the sandbox ------------------------------------------------------------------------------------------------------


class Method:
    """A function that can be called and nothing else: its own text would hold an address."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)

    def __repr__(self) -> str:
        raise Refused("the value is a function: write its arguments behind it, in parentheses")

    __str__ = __repr__


def make_sandbox() -> Any:
    """The one environment of this process. Defined in here because Jinja2 is imported under the limits only."""
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError, UndefinedError
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import missing

    class Unknown(StrictUndefined):
        """Remembers what was looked for in what, for the message."""

        __slots__ = ()

        def __init__(
            self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = UndefinedError
        ) -> None:
            raised = partial(Absent, owner=obj, name=name) if exc is UndefinedError else exc
            # the base class only calls what it is given, so a function that makes the exception serves as well
            super().__init__(hint, obj, name, raised)  # type: ignore[arg-type]

    class Absent(UndefinedError):
        def __init__(self, message: str | None = None, *, owner: Any, name: Any) -> None:
            super().__init__(message)
            self.owner = None if owner is missing else owner
            self.name = name

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset(["**", "*", "%"])

        def getattr(self, obj: Any, attribute: str) -> Any:
            """Items before attributes, and of these only the ones that are listed."""
            if isinstance(obj, Mapping) and attribute in obj:
                return obj[attribute]
            if isinstance(obj, Unknown):
                str(obj)  # raises, with the name that is not there
            if attribute in METHODS.get(type(obj).__name__, ()):
                found = super().getattr(obj, attribute)
                return Method(_narrow(obj, attribute, found)) if callable(found) else found
            if not isinstance(obj, Mapping) or attribute.startswith("_"):
                self._refuse(obj, attribute)
            return self.undefined(obj=obj, name=attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            try:
                return obj[argument]
            except (AttributeError, LookupError, TypeError):
                if isinstance(argument, str) and not isinstance(obj, Mapping):
                    self._refuse(obj, argument)
                return self.undefined(obj=obj, name=argument)

        def _refuse(self, obj: Any, attribute: str) -> None:
            if hasattr(type(obj), attribute):
                raise SecurityError(f'templates may not use "{attribute}"')

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            CHECKS[operator](left, right)
            return super().call_binop(context, operator, left, right)

        def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
            return attr in METHODS.get(type(obj).__name__, ()) and super().is_safe_attribute(obj, attr, value)

        def is_safe_callable(self, obj: Any) -> bool:
            return isinstance(obj, (Method, Unknown)) or type(obj).__name__ in ("Macro", "LoopContext")

    sandbox = Sandbox(undefined=Unknown, keep_trailing_newline=True, finalize=printable, cache_size=0)
    sandbox.globals = {"range": Method(_range), "pi": math.pi}
    sandbox.filters = {name: _filter(name, call) for name, call in sandbox.filters.items() if name in FILTERS}
    sandbox.tests = {name: call for name, call in sandbox.tests.items() if name in TESTS}
    return sandbox


def printable(value: Any) -> Any:
    """What `{{ … }}` inside a text becomes: refuses what has no text of its own."""
    return value if isinstance(value, (str, int, float, type(None))) else plain(value, Size())


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers[: RANGE + 1]) > RANGE:
        raise Refused(f"the range has more than {RANGE} numbers")
    return numbers


def _check_power(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int) and right > 0 and left.bit_length() * right > BITS:
        raise Refused("the number is too large")


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > BITS:
            raise Refused("the number is too large")
        return
    for one, count in ((left, right), (right, left)):
        if isinstance(one, (str, list, tuple)) and isinstance(count, int) and len(one) * count > VALUE:
            raise Refused(TOO_LONG)


def _check_percent(left: Any, _: Any) -> None:
    if isinstance(left, str) and PERCENT.search(left):
        raise Refused(f"the format is wider than {WIDTH - 1} characters")


CHECKS: Final[Mapping[str, Callable[[Any, Any], None]]] = {
    "**": _check_power,
    "*": _check_product,
    "%": _check_percent,
}


def _narrow(obj: Any, attribute: str, method: Callable[..., Any]) -> Callable[..., Any]:
    if attribute == "format" and isinstance(obj, str) and BRACE.search(obj):
        raise Refused(f"the format is wider than {WIDTH - 1} characters")
    return method


def _filter(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Jinja2's filter, made safe: lists instead of generators, limited padding, JSON as it is written elsewhere."""
    if name == "tojson":
        return _tojson
    if name == "center":
        return _center
    if name == "format":
        return _format
    if name not in LAZY:
        return call

    @wraps(call)  # keeps the marks by which Jinja2 knows that a filter wants its environment or context
    def listed(*args: Any, **kwargs: Any) -> Any:
        made = call(*args, **kwargs)
        return made if isinstance(made, str) else list(made)

    return listed


def _tojson(value: Any, indent: int | None = None) -> str:
    if indent is not None and not 0 <= indent <= 16:
        raise Refused("tojson indents by 0 to 16 characters")
    return json.dumps(plain(value, Size()), ensure_ascii=False, sort_keys=True, indent=indent)


def _center(value: Any, width: int = 80) -> str:
    if width > WIDTH:
        raise Refused(f"center pads to at most {WIDTH} characters")
    return str(printable(value)).center(width)


def _format(value: Any, *args: Any, **kwargs: Any) -> str:
    text = str(printable(value))
    _check_percent(text, None)
    made: str = text % (kwargs or tuple(printable(one) for one in args))
    return made


# --- faults -----------------------------------------------------------------------------------------------------------


def fault(message: str, line: int | None = None, undefined: str | None = None) -> Answer:
    return [None, message, line, undefined]


def explain(error: Exception, context: Mapping[str, Any]) -> Answer:
    """Any exception of a template in our words. Its traceback is not kept: nothing of the context may hang on it."""
    from jinja2.exceptions import SecurityError, TemplateSyntaxError

    line = line_of(error.__traceback__) or 1
    if isinstance(error, Refused):
        return fault(str(error), line)
    if isinstance(error, NameError):
        return fault(f"the value is {error.name}, which is not a number that can be written down", line)  # a folded one
    if isinstance(error, Foreign):
        return fault(str(error), error.lineno)
    if hasattr(error, "owner"):
        name = path_of(error.owner, getattr(error, "name", None), context)
        return fault(f'"{name}" is not defined', line, name)
    if isinstance(error, MemoryError):
        return fault("the template needs too much memory and was stopped", line)
    if isinstance(error, RecursionError):
        return fault("the template is nested too deep", line)
    if isinstance(error, UnicodeError):
        return fault("the text holds half a character (a lone surrogate)", line)
    message = _words(str(error))
    if isinstance(error, SecurityError):
        return fault(message, line)
    if unknown := re.match(r'no (filter|test) named "([^"]{1,60})"', message):
        listed = FILTERS if unknown[1] == "filter" else TESTS
        known = ", ".join(sorted(name for name in listed if name.isidentifier()))
        return fault(f'there is no {unknown[1]} "{unknown[2]}" in templates; there are {known}', _lineno(error, line))
    if isinstance(error, TemplateSyntaxError):
        return fault(f"the template cannot be read: {message}", error.lineno)
    return fault(f"the template fails: {message or type(error).__name__}", line)


def _lineno(error: Exception, line: int | None) -> int | None:
    found = getattr(error, "lineno", None)
    return found if isinstance(found, int) else line


def _words(text: str) -> str:
    """A foreign message as ours are: one line, lower case, no full stop, values in double quotes, cut."""
    line = " ".join(text.split()).rstrip(".")
    line = re.sub(r"'([^']*)'", r'"\1"', line)
    line = line[:1].lower() + line[1:] if line[1:2].islower() or line[1:2] == " " else line
    return line if len(line) <= 200 else line[:199] + "…"


def line_of(trace: TracebackType | None) -> int | None:
    """The line of the template's own text, which Jinja2 has written into the traceback or still has to look up."""
    line = None
    while trace is not None:
        names = trace.tb_frame.f_globals
        template = names.get("__jinja_template__")
        if "__jinja_exception__" in names:
            line = trace.tb_lineno
        elif template is not None:
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def path_of(owner: Any, name: Any, context: Mapping[str, Any]) -> str:
    """The name with what it was looked for in: `vars.angles`, as far as that can be found again."""
    place = next((path for path, value in _places(context) if value is owner), None) if owner is not None else None
    if isinstance(name, int):
        return f"{place or ''}[{name}]"
    return f"{place}.{name}" if place else str(name)


def _places(context: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every map and list of the context with its path, the outer ones first, a thousand at most."""
    waiting: list[tuple[str, Any]] = list(context.items())
    for path, value in waiting:  # grows while it is walked
        if isinstance(value, (dict, list)):
            yield path, value
        if len(waiting) > 1000:
            continue
        if isinstance(value, dict):
            waiting.extend((f"{path}.{key}", item) for key, item in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{path}[{at}]", item) for at, item in enumerate(value))


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        try:
            main()
        except MemoryError:
            os._exit(NO_MEMORY)
