"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from qrun.cli import State

if TYPE_CHECKING:
    from qrun.manifest import Values

Function = TypeVar("Function", bound=Callable[..., Any])

FORMATS: Final = ("table", "json", "jsonl")


def output(*formats: str) -> Callable[[Function], Function]:
    """`-o`, and `--debug`, which every command has."""

    def add(function: Function) -> Function:
        for option in (
            click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help=DEBUG_HELP),
            click.option(
                "-o",
                "--output",
                type=click.Choice(formats or FORMATS[:2]),
                default=(formats or FORMATS)[0],
                is_eager=True,
                callback=_output,
                help="how to print the result",
            ),
        ):
            function = option(function)
        return function

    return add


DEBUG_HELP: Final = "say where an error comes from; never shows values"


def debug(function: Function) -> Function:
    """`--debug` alone, for a command with only one form of output."""
    option = click.option("--debug", is_flag=True, expose_value=False, is_eager=True, callback=_debug, help=DEBUG_HELP)
    return option(function)


def _output(ctx: click.Context, _: click.Parameter, value: str) -> str:
    _state(ctx).output = value
    return value


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    _state(ctx).debug = _state(ctx).debug or value


def _state(ctx: click.Context) -> State:
    return ctx.ensure_object(State)


def asked(given: Sequence[str], state: State) -> str:
    """The output that was asked for by arguments that click could not read to their end."""
    for word, after in zip(given, (*given[1:], ""), strict=True):
        value = after if word in ("-o", "--output") else re.sub(r"^(-o|--output=)", "", word)
        if value in FORMATS and value != word:
            return value
    return state.output


def superseded(function: Callable[..., int]) -> Callable[..., int]:
    """`--prune` and `--keep`: what becomes of live jobs that a changed one replaces."""

    @click.option("--prune", is_flag=True, help="cancel live jobs that a changed one replaces")
    @click.option("--keep", is_flag=True, help="let live jobs run that a changed one replaces")
    @wraps(function)
    def chosen(*, prune: bool, keep: bool, **given: Any) -> int:
        from qrun.errors import UsageError

        if prune and keep:
            raise UsageError("--prune and --keep exclude each other", hint="use one of both")
        return function(superseded="cancel" if prune else "keep" if keep else None, **given)

    return chosen


def not_sent_elsewhere(function: Function) -> Function:
    """`--not-sent-elsewhere`: the user's word where nobody can look (RELIABILITY §1b, class D)."""
    words = "no other machine has sent the jobs that their provider cannot be searched for"
    return click.option("--not-sent-elsewhere", is_flag=True, help=words)(function)


# --- manifests and their values ---------------------------------------------------------------------------------------


def manifests(function: Function) -> Function:
    """`MANIFEST…` and what fills its `vars`."""
    function = click.argument("manifests", nargs=-1, metavar="[MANIFEST]...")(function)
    return values(function)


def manifest_option(function: Function) -> Function:
    """The same for a command whose arguments are jobs."""
    option = click.option(
        "-m", "--manifest", "manifests", multiple=True, metavar="MANIFEST", help="a manifest or a folder of manifests"
    )
    return values(option(function))


def values(function: Function) -> Function:
    for option in (
        click.option("--vars", "var_files", multiple=True, metavar="FILE", help="a YAML or JSON map of variables"),
        click.option("--var-json", "var_json", multiple=True, metavar="K=V", help="set a variable to a JSON value"),
        click.option("--var", "var", multiple=True, metavar="K=V", help="set a variable to a text"),
    ):
        function = option(function)
    return function


def given_values(var: Sequence[str], var_json: Sequence[str], var_files: Sequence[str]) -> Values:
    """Later ones win; `--var-json` over `--vars`. Raises UsageError and ManifestError."""
    from qrun.manifest import Values

    typed: dict[str, Any] = {}
    for file in var_files:
        typed |= _variables(file)
    typed |= {name: _json(name, text) for name, text in map(_pair, var_json)}
    return Values(texts=dict(map(_pair, var)), typed=typed)


def _pair(text: str) -> tuple[str, str]:
    from qrun.errors import UsageError

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f'"{text}" is not a variable', hint="write NAME=VALUE")
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise UsageError(f'the value of "{name}" is not UTF-8 text', hint="give it in UTF-8")
    return (name, value)


def _json(name: str, text: str) -> Any:
    import json
    from math import isfinite

    from qrun.errors import UsageError

    def refuse(word: str) -> Any:
        raise ValueError(f"{word} is not JSON")

    def number(word: str) -> float:
        return found if isfinite(found := float(word)) else refuse(word)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(found := dict(pairs)) < len(pairs):
            raise ValueError("a key stands twice in one map")
        return found

    try:
        return json.loads(text, parse_constant=refuse, parse_float=number, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        hint = f"""write it as JSON, for example --var-json '{name}=[0, 0.5]', or use --var for text"""
        raise UsageError(f'the value of "{name}" is not JSON', hint=hint) from error


def _variables(file: str) -> dict[str, Any]:
    from qrun.cli.reading import variables

    return variables(file)


# --- numbers ----------------------------------------------------------------------------------------------------------


def positive(_: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A whole number above 0."""
    if value is None:
        return None
    if re.fullmatch(r"0*[1-9][0-9]{0,5}", value) is None:
        raise click.BadParameter(f'"{value}" is not a whole number from 1 to 999999', param=param)
    return int(value)


# --- durations --------------------------------------------------------------------------------------------------------

UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def duration(_: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """`90`, `90s`, `1h30m`: seconds."""
    if value is None:
        return None
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    parts = DURATION.findall(value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise click.BadParameter(f'"{value}" is not a duration; write for example 90s, 10m or 1h30m', param=param)
    return sum(float(number) * UNITS[unit] for number, unit in parts)
