"""What holds for a project and for its user: qrun.toml, the user's own file, and the environment, read only here.

A pull request can change qrun.toml and cannot change the user's file, so qrun.toml may send credentials only to hosts
that are known here or trusted by the user, and may take them only from variables that are meant for qrun. Secrets are
not read with the settings: a `Source` says where one is, and `resolve` fetches it when a request needs it.

The schema in schemas/project.schema.json is followed by a small walk of our own, which makes our messages and costs
less than the import of jsonschema; a test holds the two verdicts against each other.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from types import MappingProxyType
from typing import Any, Final, NoReturn

from qrun.budget import Budget
from qrun.connection import Connection
from qrun.errors import Problem, SettingsError
from qrun.job import NOTHING

__all__ = ["HOSTS", "Secret", "Settings", "Source", "project_of", "resolve", "settings", "user_file"]

PROJECT: Final = "qrun.toml"
HOSTS: Final[Mapping[str, frozenset[str]]] = {
    "local": frozenset(),
    "oqtopus": frozenset(),  # each installation has a host of its own
    "pasqal": frozenset(
        {
            "apis.pasqal.cloud",
            "apis.sa.pasqal.cloud",
            "pasqal.eu.auth0.com",
            "authenticate.pasqal.cloud",
            "auth.sa.pasqal.cloud",
        }
    ),
    "iqm": frozenset({"resonance.iqm.tech", "resonance.meetiqm.com", "cocos.resonance.meetiqm.com"}),
    "qhub": frozenset({"gateway.hub.kipu-quantum.com", "api.hub.kipu-quantum.com"}),
}
DEFAULT_HOST: Final[Mapping[tuple[str, str], str]] = {  # by type and region, for the site
    ("pasqal", "fr"): "apis.pasqal.cloud",
    ("pasqal", "sa"): "apis.sa.pasqal.cloud",
    ("qhub", ""): "api.hub.kipu-quantum.com",
}
OWN_ONLY: Final = ("config_file", "tokens_file")  # paths outside of the project
SIZE: Final = 1 << 20  # bytes of a settings file
SECRET_SIZE: Final = 1 << 16
COMMAND_TIME: Final = 60.0  # seconds, for a command that asks a person

Path = tuple[str | int, ...]


class Secret:
    """A credential in memory; it shows itself only when asked by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where a secret is: `env`, `keyring` and `file` have a name, `command` its words, `text` the secret itself."""

    kind: str
    name: str = ""
    words: tuple[str, ...] = ()
    service: str = "qrun"
    text: Secret | None = None
    file: str | None = None  # where this is said
    field: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """`root` is absolute. `journal` and `publish` are the user's; `warnings` are for people to read."""

    root: str
    file: str | None = None
    project: str | None = None
    connections: Mapping[str, Connection] = field(default_factory=lambda: NOTHING)
    budget: Budget = field(default_factory=Budget)
    superseded: str | None = None
    journal: str | None = None
    publish: tuple[str, ...] | None = None
    trusted_hosts: frozenset[str] = frozenset()
    warnings: tuple[Problem, ...] = ()


def settings(start: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings for a manifest, or for the folder that it is in; SettingsError with all problems of both files."""
    folder = os.path.realpath(start)
    root, path = project_of(folder if os.path.isdir(folder) else os.path.dirname(folder))
    files = [file for file in (_project_file(path), _users_file(environ)) if file is not None]
    problems = [problem for file in files for problem in file.problems]
    own = files[-1] if files and files[-1].own else None
    project = files[0] if files and not files[0].own else None
    users = Users(own, environ)
    trusted = users.trusted_hosts
    for file in files:
        problems += _shape(file)
        problems += _trust(file, trusted)
    problems += users.problems
    if problems:
        raise SettingsError(*problems)
    budgets = [Budget(**file.table["budget"]) for file in files if "budget" in file.table]
    said = project.table if project is not None else {}
    return Settings(
        root=root,
        file=path,
        project=said["project"].lower() if "project" in said else None,
        connections=MappingProxyType({name: made for file in files for name, made in _connections(file)}),
        budget=reduce(Budget.smaller, budgets) if budgets else Budget(),
        superseded=said.get("superseded"),
        journal=users.journal,
        publish=users.publish,
        trusted_hosts=trusted,
        warnings=tuple(_warnings(own)),
    )


def user_file(environ: Mapping[str, str] = os.environ) -> str:
    """Where the user's own settings are, whether they exist or not."""
    return os.path.join(_config_folder(environ), "config.toml")


def resolve(source: Source, environ: Mapping[str, str] = os.environ) -> Secret:
    """The secret itself, fetched now; SettingsError where it is not to be had."""
    match source.kind:
        case "text":
            assert source.text is not None
            return source.text
        case "env":
            return _present(source, environ.get(source.name, ""), f'the variable "{source.name}" is not set')
        case "file":
            return _present(source, _secret_file(source), f'"{source.name}" is empty')
        case "command":
            return _present(source, _secret_command(source), f'the command "{source.words[0]}" printed nothing')
        case _:
            return _present(source, _secret_key(source), f'the keyring has no "{source.name}" under "{source.service}"')


# --- where things are -------------------------------------------------------------------------------------------------


def project_of(folder: str) -> tuple[str, str | None]:
    """The root and the path of qrun.toml: the nearest one upwards, else the nearest repository, else the folder.

    The folder is absolute.
    """
    repository = None
    for here in _upwards(folder):
        path = os.path.join(here, PROJECT)
        if os.path.lexists(path):
            return here, path
        if repository is None and os.path.lexists(os.path.join(here, ".git")):
            repository = here
    return repository or folder, None


def _upwards(folder: str) -> Iterator[str]:
    yield folder
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        yield folder


def _config_folder(environ: Mapping[str, str]) -> str:
    """As platformdirs says; it is imported only where its answer is not the freedesktop one."""
    import sys

    if not sys.platform.startswith(("linux", "freebsd")):
        import platformdirs

        return platformdirs.user_config_dir("qrun", appauthor=False)
    given = environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(given if os.path.isabs(given) else os.path.join(_home(environ), ".config"), "qrun")


def _home(environ: Mapping[str, str]) -> str:
    return environ.get("HOME") or os.path.expanduser("~")


def _expanded(path: str, environ: Mapping[str, str]) -> str:
    return os.path.join(_home(environ), path[2:]) if path.startswith("~/") else path


# --- a file -----------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True, slots=True)
class _File:
    """A settings file as it was read. `shown` is its name in messages; `own`: the user's, not the project's."""

    path: str
    shown: str
    own: bool
    text: str = ""
    mode: int = 0
    table: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, path: Path, message: str, hint: str | None = None) -> Problem:
        line, column = self.place(path)
        return Problem(
            message=message, file=self.shown, line=line, column=column, field=_field(path) or None, hint=hint
        )

    def place(self, path: Path) -> tuple[int | None, int | None]:
        """Of the key at this path, or of the nearest one around it."""
        found = _places(self.text)
        for length in range(len(path), 0, -1):
            if path[:length] in found:
                return found[path[:length]]
        return None, None


def _project_file(path: str | None) -> _File | None:
    if path is None:
        return None
    file = _File(path=path, shown=os.path.relpath(path), own=False)
    folder = os.path.dirname(path)
    if os.path.dirname(os.path.realpath(path)) != folder and os.path.islink(path):
        file.problems.append(
            Problem(file=file.shown, message="is a link out of its folder", hint="put the file itself here")
        )
        return file
    return _read(file)


def _users_file(environ: Mapping[str, str]) -> _File | None:
    path = user_file(environ)
    home = _home(environ)
    shown = f"~{path[len(home) :]}" if path.startswith(home + os.sep) else path
    return _read(_File(path=path, shown=shown, own=True)) if os.path.lexists(path) else None


def _read(file: _File) -> _File:
    try:
        data, file.mode = _bytes(file.path, SIZE)
        file.text = data.decode("utf-8-sig")
        file.table = _parsed(file.text)
    except OSError as error:
        file.problems.append(Problem(file=file.shown, message=f"cannot be read: {_reason(error)}"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8: byte 0x{data[error.start]:02x}"
        file.problems.append(Problem(file=file.shown, line=line, message=message, hint="save it as UTF-8"))
    except RecursionError:
        file.problems.append(Problem(file=file.shown, message="is nested too deep"))
    except ValueError as error:
        file.problems.append(_syntax(file, str(error)))
    return file


def _bytes(path: str, most: int) -> tuple[bytes, int]:
    """Content and mode of a regular file; OSError for anything else, a pipe among them, and for a longer one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as opened:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a file")
        if status.st_size > most:
            raise OSError(f"it is larger than {most >> 10} KiB")
        return opened.read(most), status.st_mode


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _parsed(text: str) -> dict[str, Any]:
    import tomllib

    table: dict[str, Any] = _plain(tomllib.loads(text))
    return table


def _plain(value: Any) -> Any:
    """TOML's dates and times become text; everything else is JSON's already."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float)) else value.isoformat()


def _syntax(file: _File, said: str) -> Problem:
    """What the parser said, without its place, which goes where places go."""
    words, _, place = said.rstrip(")").rpartition(" (at ")
    found = re.fullmatch(r"line (\d+), column (\d+)", place)
    line, column = (int(found[1]), int(found[2])) if found else (file.text.count("\n") + 1, None)
    message = (words or said).rstrip(".").replace("'", '"')
    message = message[:1].lower() + message[1:]
    return Problem(file=file.shown, line=line, column=column, message=f"is not TOML: {message}")


KEY: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*')"""
KEYS: Final = rf"{KEY}(?:[ \t]*\.[ \t]*{KEY})*"
HEAD: Final = re.compile(rf"[ \t]*\[\[?[ \t]*({KEYS})[ \t]*\]")
PAIR: Final = re.compile(rf"[ \t]*({KEYS})[ \t]*=")


@lru_cache(maxsize=2)
def _places(text: str) -> Mapping[Path, tuple[int, int]]:
    """Line and column of each key, found in the text again, because the parser does not tell."""
    places: dict[Path, tuple[int, int]] = {}
    table: Path = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        found = None
        if not quote:
            if found := HEAD.match(line):
                table = _steps(found[1])
                places.setdefault(table, (number, found.start(1) + 1))
            elif found := PAIR.match(line):
                steps = _steps(found[1])
                for length in range(1, len(steps) + 1):
                    places.setdefault((*table, *steps[:length]), (number, found.start(1) + 1))
        for mark in re.findall(r'"""|\'\'\'', line):
            quote = "" if mark == quote else quote or mark
    return places


def _steps(keys: str) -> Path:
    return tuple(key[1:-1] if key[0] in "\"'" else key for key in re.findall(KEY, keys))


def _field(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text if len(text) <= 80 else text[:79] + "…"


# --- the shape: the schema's verdict in our words ---------------------------------------------------------------------


def _shape(file: _File) -> Iterator[Problem]:
    if file.problems:
        return
    schema = project_schema()
    top = schema["$defs"]["user"] if file.own else schema
    for path, message, hint in Walk(schema, file.own).verdicts(top, file.table, ()):
        yield file.problem(path, message, hint)


@lru_cache(maxsize=1)
def project_schema() -> dict[str, Any]:
    """Inside the package where it is installed, else beside it in the repository."""
    import json

    package = os.path.dirname(os.path.abspath(__file__))
    inside = os.path.join(package, "schemas")
    folder = inside if os.path.isdir(inside) else os.path.join(os.path.dirname(package), "schemas")
    with open(os.path.join(folder, "project.schema.json"), encoding="utf-8") as file:
        schema: dict[str, Any] = json.load(file)
        return schema


Verdict = tuple[Path, str, str | None]
TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "any": object,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


class Walk:
    """What the schema objects to. A secret's value stands in no message."""

    def __init__(self, root: Mapping[str, Any], own: bool) -> None:
        self.root = root
        self.own = own

    def verdicts(self, schema: Mapping[str, Any], value: Any, path: Path) -> Iterator[Verdict]:
        name = schema.get("$ref", "").rpartition("/")[2]
        if name == "secret" or (name == "login" and isinstance(value, dict)):
            yield from self.secret(value, path)
        elif name == "url":
            if not self.fits(self.root["$defs"]["url"], value):
                yield path, f"{_masked(value)} is not {_means(self.root['$defs']['url'])}", None
        elif name:
            yield from self.verdicts({**self.root["$defs"][name]}, value, path)
        elif "anyOf" in schema:
            yield from self.branches(schema, value, path)
        elif not self.fits(schema, value):
            wrong = f"{_show(value)} is not {_means(schema)}"
            yield path, wrong if value != [] else f"is empty; {_means(schema)} is needed", None
        elif isinstance(value, dict):
            yield from self.members(schema, value, path)
        elif isinstance(value, list):
            for at, item in enumerate(value):
                yield from self.verdicts(schema.get("items", {}), item, (*path, at))

    def fits(self, schema: Mapping[str, Any], value: Any) -> bool:
        """All that can be said of a value without looking into it."""
        wanted = TYPES[schema.get("type", "any")]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted not in (bool, object)):
            return False
        if value not in schema.get("enum", [value]) or value != schema.get("const", value):
            return False
        if isinstance(value, str):
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
                return False
            # `$` also matches before a line's end
            return "pattern" not in schema or (value.isprintable() and re.search(schema["pattern"], value) is not None)
        if isinstance(value, list):
            return len(value) >= int(schema.get("minItems", 0))
        return not isinstance(value, (int, float)) or _between(schema, value)

    def members(self, schema: Mapping[str, Any], table: dict[str, Any], path: Path) -> Iterator[Verdict]:
        known: Mapping[str, Any] = schema.get("properties", {})
        rest = schema.get("additionalProperties", True)
        for key in schema.get("required", ()):
            if key not in table:
                yield path, f'"{key}" is missing', None
        for key, item in table.items():
            below = known.get(key, rest)
            if below is False:
                what = schema.get("x-name", "this table")
                yield (*path, key), f"is not a field of {what}", _did_you_mean(key, known)
            elif isinstance(below, dict):
                for bad in self.names(schema, key):
                    yield (*path, key), bad, None
                yield from self.verdicts(below, item, (*path, key))

    def names(self, schema: Mapping[str, Any], key: str) -> Iterator[str]:
        if "propertyNames" in schema:
            yield from (message for _, message, _ in self.verdicts(schema["propertyNames"], key, ()))

    def branches(self, schema: Mapping[str, Any], value: Any, path: Path) -> Iterator[Verdict]:
        """A connection is told by its type; of other alternatives any will do."""
        tables = {ref["$ref"].rpartition("/")[2]: ref for ref in schema["anyOf"] if "$ref" in ref}
        kinds = {kind: ref for kind, ref in tables.items() if kind in HOSTS}
        if not kinds:
            if all(any(self.verdicts(branch, value, path)) for branch in schema["anyOf"]):
                yield path, f"{_show(value)} is not {_means(schema)}", None
        elif not isinstance(value, dict):
            yield path, f"{_show(value)} is not {_means(schema)}", f'write [{_field(path)}] and type = "local" below it'
        elif "type" not in value:
            yield path, '"type" is missing', f"there are {', '.join(sorted(kinds))}"
        elif value["type"] not in list(kinds):
            message = f"{_show(value['type'])} is not a type of connection"
            yield (*path, "type"), message, _did_you_mean(str(value["type"]), kinds)
        else:
            yield from self.verdicts(kinds[value["type"]], value, path)

    def secret(self, value: Any, path: Path) -> Iterator[Verdict]:
        """The same rules as `secret` and `own_secret` of the schema, in words that fit."""
        if isinstance(value, str) and not self.own:
            yield path, "a secret may not stand in this file", INSTEAD
        elif isinstance(value, str):
            if not 0 < len(value) <= SECRET_SIZE:
                yield path, "is empty or too long for a secret", None
        elif not isinstance(value, dict):
            yield path, "is not where a secret comes from", INSTEAD
        else:
            yield from self.source(value, path)

    def source(self, value: dict[str, Any], path: Path) -> Iterator[Verdict]:
        ways = [key for key in WAYS if key in value]
        for key in value:
            if key in ("command", "file", "service") and not self.own:
                yield (*path, key), f'"{key}" may not stand in this file', INSTEAD
            elif key not in (*WAYS, "service"):
                yield (*path, key), "is not a field of a secret's source", _did_you_mean(key, WAYS)
        if len(ways) != 1 or ("service" in value and "keyring" not in value):
            yield path, "is not one source of a secret", INSTEAD
            return
        schema = self.root["$defs"]["own_secret"]["anyOf"][1] if self.own else self.root["$defs"]["secret"]
        for key, item in value.items():
            if key in schema["properties"]:
                yield from self.verdicts(schema["properties"][key], item, (*path, key))


WAYS: Final = ("env", "keyring", "command", "file")
INSTEAD: Final = 'write { env = "QRUN_…" } with the name of a variable, or give the connection in your own settings'


def _between(schema: Mapping[str, Any], value: float) -> bool:
    least, most = schema.get("minimum", value), schema.get("maximum", value)
    return bool(least <= value <= most and not value <= schema.get("exclusiveMinimum", value - 1))


def _means(schema: Mapping[str, Any]) -> str:
    if "x-means" in schema:
        return str(schema["x-means"])
    return "one of " + ", ".join(map(_show, schema["enum"])) if "enum" in schema else "what is needed here"


def _show(value: Any) -> str:
    """A value in a message: text in quotes, numbers bare, 80 characters at most."""
    import json

    if isinstance(value, (dict, list)):
        return "a table" if isinstance(value, dict) else "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else text[:78] + ('…"' if isinstance(value, str) else "…")


def _masked(address: Any) -> str:
    """An address in a message, unless it may hold a password."""
    return _show(address) if not isinstance(address, str) or "@" not in address else "what stands here"


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    from difflib import get_close_matches

    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1) if len(name) <= 80 else []
    if close:
        return f'did you mean "{close[0]}"?'
    return f"there are {', '.join(names)}" if 0 < len(names) <= 12 else None


# --- trust ------------------------------------------------------------------------------------------------------------

ADDRESS: Final = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?(?:/.*)?")
LOOPBACK: Final = re.compile(r"localhost|127(?:\.(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])){3}|\[::1\]")


def _trust(file: _File, trusted: frozenset[str]) -> Iterator[Problem]:
    """A project's file may name known, trusted and own hosts; nobody sends a credential over plain http elsewhere."""
    connections = file.table.get("connections")
    for name, table in connections.items() if isinstance(connections, dict) else ():
        kind = table.get("type") if isinstance(table, dict) else None
        if not isinstance(kind, str) or kind not in HOSTS:
            continue
        place = ("connections", name)
        if name in HOSTS and name != kind:
            hint = f'give it another name, or type = "{name}"'
            yield file.problem(place, f'"{name}" is the name of another type of connection', hint)
        for path, address in _addresses(kind, table):
            yield from _host(file, kind, (*place, *path), address, trusted)
        for key in OWN_ONLY:
            if key in table and not file.own:
                hint = "give the connection in your own settings"
                yield file.problem((*place, key), f'"{key}" may not stand in this file', hint)


def _addresses(kind: str, table: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where a connection of this type sends credentials, or has them sent; a webhook gets none."""
    fields = project_schema()["$defs"][kind]["properties"]
    for key, value in table.items():
        if key == "services" and isinstance(value, dict):
            yield from (((key, name), one) for name, one in value.items() if isinstance(one, str))
        elif key != "webhook" and isinstance(value, str) and fields.get(key, {}).get("$ref") == "#/$defs/url":
            yield (key,), value


def _host(file: _File, kind: str, path: Path, address: str, trusted: frozenset[str]) -> Iterator[Problem]:
    found = ADDRESS.fullmatch(address)
    if found is None:
        return  # its shape is told already
    scheme, host, port = found[1], found[2].lower(), found[3]
    if port is not None and not 0 < int(port) < 65536:
        yield file.problem(path, f"{port} is not a port")
    if LOOPBACK.fullmatch(host):
        return
    if scheme == "http" and path[-1] != "proxy":
        yield file.problem(path, f'"{host}" may only be reached over https', "write https://")
    if not file.own and not {host, f"{host}:{port}"} & (HOSTS[kind] | trusted):
        known = ", ".join(sorted(HOSTS[kind]))
        who = f"those of {kind} are {known}; else" if known else f"{kind} has none;"
        hint = f"{who} give the connection in your own settings, or name the host in QRUN_TRUSTED_HOSTS"
        yield file.problem(path, f'"{host}" is not a known host', hint)


# --- values -----------------------------------------------------------------------------------------------------------


def _connections(file: _File) -> Iterator[tuple[str, Connection]]:
    for name, table in file.table.get("connections", {}).items():
        kind = table["type"]
        fields = project_schema()["$defs"][kind]["properties"]
        rest = {
            key: _sourced(file, ("connections", name, key), value, fields[key].get("$ref", ""))
            for key, value in table.items()
            if key != "type"
        }
        yield name, Connection(name=name, provider=kind, site=_site(kind, table), settings=MappingProxyType(rest))


def _sourced(file: _File, path: Path, value: Any, ref: str) -> Any:
    """A secret becomes its source; everything else stays as it is written."""
    if not ref.endswith(("/secret", "/login")) or (ref.endswith("/login") and isinstance(value, str)):
        return value
    said = Source(kind="text", file=file.shown, field=_field(path))
    if isinstance(value, str):
        return replace(said, text=Secret(value))
    kind = next(key for key in WAYS if key in value)
    if kind == "command":
        return replace(said, kind=kind, words=tuple(value[kind]))
    name = value[kind]
    if kind == "file":
        name = os.path.join(os.path.dirname(file.path), os.path.expanduser(name))
    return replace(said, kind=kind, name=name, service=value.get("service", "qrun"))


def _site(kind: str, table: Mapping[str, Any]) -> str | None:
    """The lower-case host without default port, then project and organization; None where no address is known."""
    if kind == "local":
        return None
    address = next((table[key] for key in ("url", "core_url", "platform_url") if key in table), None)
    default = DEFAULT_HOST.get((kind, table.get("region", "fr") if kind == "pasqal" else ""))
    host = table.get("site") or (_place(address) if address else default)
    if host is None:
        return None
    host = host.lower().removeprefix("cocos.") if kind == "iqm" else host.lower()
    owners = (str(table[key]) for key in ("project_id", "organization_id") if key in table)
    return "/".join((host, *owners))


def _place(address: str) -> str:
    found = ADDRESS.fullmatch(address)
    assert found is not None
    default = "443" if found[1] == "https" else "80"
    return found[2] if found[3] in (None, default) else f"{found[2]}:{found[3]}"


def _warnings(own: _File | None) -> Iterator[Problem]:
    """Secrets in a file that others can read."""
    if own is None or not own.mode & 0o077:
        return
    sources = (value for _, made in _connections(own) for value in made.settings.values())
    if any(isinstance(source, Source) and source.kind == "text" for source in sources):
        message = f"holds secrets and has the mode {stat.S_IMODE(own.mode):04o}, so others may read them"
        yield Problem(file=own.shown, message=message, hint=f'run "chmod 600 {own.shown}"')


class Users:
    """What only the user decides, from the own file and, above it, the environment."""

    def __init__(self, own: _File | None, environ: Mapping[str, str]) -> None:
        self.table: Mapping[str, Any] = own.table if own is not None else {}
        self.environ = environ
        self.problems: list[Problem] = []
        self.journal = self._journal(own)
        self.publish = self._publish()
        self.trusted_hosts = self._hosts()

    def _journal(self, own: _File | None) -> str | None:
        given = self.environ.get("QRUN_JOURNAL") or self.table.get("journal")
        if not isinstance(given, str):
            return None
        path = _expanded(given, self.environ)
        if os.path.isabs(path):
            return path
        message, hint = f"{_show(given)} is not an absolute path", "begin it with / or ~/"
        if self.environ.get("QRUN_JOURNAL"):
            self.problems.append(Problem(field="QRUN_JOURNAL", message=message, hint=hint))
        elif own is not None:
            self.problems.append(own.problem(("journal",), message, hint))
        return None

    def _publish(self) -> tuple[str, ...] | None:
        given = self.environ.get("QRUN_PUBLISH")
        if not given:
            listed = self.table.get("publish")
            return tuple(map(str, listed)) if isinstance(listed, list) else None
        import shlex

        try:
            return tuple(shlex.split(given)) or None
        except ValueError as error:
            message = f"is not a command: {str(error).lower()}"
            self.problems.append(Problem(field="QRUN_PUBLISH", message=message, hint="quote it as a shell would"))
            return None

    def _hosts(self) -> frozenset[str]:
        listed = self.table.get("trusted_hosts", [])
        named = re.split(r"[,\s]+", self.environ.get("QRUN_TRUSTED_HOSTS", ""))
        some = [host for host in listed if isinstance(host, str)] if isinstance(listed, list) else []
        return frozenset(host.lower() for host in (*named, *some) if host)


# --- secrets ----------------------------------------------------------------------------------------------------------


def _present(source: Source, text: str, otherwise: str) -> Secret:
    if not text:
        raise SettingsError(_complaint(source, otherwise))
    return Secret(text)


def _complaint(source: Source, message: str, hint: str | None = None) -> Problem:
    return Problem(file=source.file, field=source.field, message=message, hint=hint)


def _secret_file(source: Source) -> str:
    try:
        data, mode = _bytes(source.name, SECRET_SIZE)
        text = data.decode()
    except OSError as error:
        raise SettingsError(_complaint(source, f'"{source.name}" cannot be read: {_reason(error)}')) from error
    except UnicodeDecodeError:
        raise SettingsError(_complaint(source, f'"{source.name}" is not text')) from None
    if mode & 0o077:
        message = f'"{source.name}" has the mode {stat.S_IMODE(mode):04o}, so others may read it'
        raise SettingsError(_complaint(source, message, f'run "chmod 600 {source.name}"'))
    return text.rstrip("\r\n")


def _secret_command(source: Source) -> str:
    """What the command prints; its own words on stderr go to the terminal, as it may have to ask."""
    import subprocess

    name = source.words[0]
    try:
        done = subprocess.run(  # noqa: S603 - the user's own settings name it; a project's file cannot
            source.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=COMMAND_TIME, check=False
        )
    except OSError as error:
        raise SettingsError(_complaint(source, f'the command "{name}" cannot be run: {_reason(error)}')) from error
    except subprocess.TimeoutExpired:
        message = f'the command "{name}" took longer than {COMMAND_TIME:g} s'
        raise SettingsError(_complaint(source, message)) from None
    if done.returncode:
        raise SettingsError(_complaint(source, f'the command "{name}" ended with code {done.returncode}'))
    return done.stdout.decode(errors="replace").rstrip("\r\n")


def _secret_key(source: Source) -> str:
    try:
        # the extra that not everybody has; it ships types only in part
        import keyring  # type: ignore[import-not-found,unused-ignore]
        import keyring.errors  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        message = "the keyring of the operating system cannot be asked"
        raise SettingsError(_complaint(source, message, "install qrun-quantum[keyring]")) from None
    try:
        found: str | None = keyring.get_password(source.service, source.name)
    except keyring.errors.KeyringError as error:
        name = type(error).__name__
        raise SettingsError(_complaint(source, f"the keyring of the operating system failed: {name}")) from None
    return found or ""
