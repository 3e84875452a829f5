"""The documentation is true: its examples run with the output that they show, and it names everything that there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Any, Final, get_args

import click
import pytest
from jsonschema import Draft202012Validator

from qrun import errors
from qrun.cli import cli, exits
from qrun.cli.schema import NAMES
from qrun.events import Event, word
from qrun.fact import FACTS
from qrun.plan import Action
from qrun.record import Phase
from qrun.settings import HOSTS
from tests.test_layers import LAYERS, LEVEL

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = [ROOT / "README.md", *sorted(p for p in (ROOT / "docs").glob("*.md") if not p.name.endswith(".in.md"))]
SPECS: Final = sorted((ROOT / "specs").glob("*.yaml"))
CLOUDS: Final = sorted((ROOT / "specs" / "clouds").glob("*.yaml"))
SETUP: Final = {  # what a reader types and CI runs in its own way
    "make demo",
    "make test",
    ". .venv/bin/activate",
    "pip install .",
    "pip install '.[aer,pulser]'",
}
SHOWN: Final = frozenset({"sh", "json", "text"})  # blocks that are read and not run
BESIDE: Final = "beside"  # the word after `console` where something is typed in another terminal, and goes on there
FENCE: Final = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
END: Final = "the end of a documented file"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- examples ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A fenced block of a page: a file where `path` is given, else commands with what they print.

    Commands of a block that is `beside` run until the page ends.
    """

    language: str
    path: str
    text: str
    line: int

    @property
    def beside(self) -> bool:
        return self.language == "console" and self.path == BESIDE


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    typed: str
    printed: str
    line: int

    @property
    def lines(self) -> int:
        """How many lines it shows."""
        return self.printed.count("\n")


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(language=m[1], path=m[2] or "", text=m[3], line=text.count("\n", 0, m.start()) + 1)
        for m in FENCE.finditer(text)
    ]


def commands(block: Block) -> Iterator[Command]:
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    line = block.line + 1
    for part in parts[1:]:
        typed, _, printed = part.partition("\n")
        yield Command(typed=typed, printed=printed, line=line)
        line += part.count("\n")


def script(page: Path) -> tuple[str, list[Command]]:
    """One shell script of a whole page: files are written and commands run in the order in which they are read."""
    lines: list[str] = [END_ALL]
    told: list[Command] = []
    for block in blocks(page):
        if block.language == "console":
            for command in commands(block):
                told.append(command)
                typed = beside(command, len(told)) if block.beside else command.typed
                lines.append(f"{typed}\ncode=$?; printf '\\n@@@ %d\\n' $code; (exit $code)")
        elif block.path:
            folder = os.path.dirname(block.path) or "."
            lines.append(f"mkdir -p {folder} && cat > {block.path} <<'{END}'\n{block.text}{END}")
    return "\n".join(lines) + "\n", told


END_ALL: Final = """beside=; trap 'test -z "$beside" || kill $beside' EXIT"""


def beside(command: Command, number: int) -> str:
    """Starts what another terminal runs, and goes on once it has printed as many lines as the page shows."""
    out = f'"$HOME/beside-{number}"'
    return (
        f': > {out}; {command.typed} > {out} 2>&1 &\nbeside="$beside $!"\n'
        f"until test $(wc -l < {out}) -ge {command.lines} || ! kill -0 $!; do sleep 0.05; done; cat {out}"
    )


def environment(home: Path) -> dict[str, str]:
    """A machine of a new user, with `qrun` and `git` on it."""
    programs = home / "bin"
    programs.mkdir(parents=True)
    program = programs / "qrun"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m qrun "$@"\n')
    program.chmod(0o755)
    (home / ".gitconfig").write_text(
        "[user]\nname = Ada\nemail = ada@example.org\n[init]\ndefaultBranch = main\n[advice]\ndetachedHead = false\n"
    )
    system = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
    return {
        **system,
        "PATH": f"{programs}:{system['PATH']}",
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def run(page: Path, folder: Path) -> list[tuple[Command, str, int]]:
    """Each command with what it printed, errors among it, and its exit code."""
    text, told = script(page)
    home = folder / "home"
    env = environment(home)
    work = folder / "work"
    shutil.copytree(ROOT / "specs", work / "specs", ignore=shutil.ignore_patterns("results"))
    subprocess.run(["git", "init", "--quiet"], cwd=work, env=env, check=True)
    done = subprocess.run(
        ["bash"],
        input=text,
        cwd=work,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    pieces = re.split(r"\n@@@ (\d+)\n", done.stdout)
    assert len(pieces) == 2 * len(told) + 1, done.stdout
    return [(command, pieces[2 * at], int(pieces[2 * at + 1])) for at, command in enumerate(told)]


VARYING: Final = (
    (re.compile(r"\bqr([1x])[a-z2-7]{26}\b"), r"qr\1MARK"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "TIME"),
    (re.compile(r'("?\b[01]+"?): \d+'), r"\1: N"),  # counts
    (re.compile(r"\d+\.\d % +\d+( +[█▏▎▍▌▋▊▉]+)?"), "BAR"),
)
PROGRESS: Final = re.compile(r"(running|done) ")
HEADLINE: Final = re.compile(r"[01]+: N(?:, [01]+: N)+")


def steady(line: str) -> str:
    """A line without what differs from run to run: counts and their order, times, marks, ids of projects and jobs."""
    for pattern, instead in VARYING:
        line = pattern.sub(instead, line)
    return HEADLINE.sub(lambda found: ", ".join(sorted(found[0].split(", "))), line).rstrip()


def in_order(lines: Sequence[str]) -> Iterator[str]:
    """Lines with those of jobs that run side by side sorted, since any of them may be the first."""
    for beside, group in groupby(lines, key=lambda line: PROGRESS.match(line) is not None):
        found = list(group)
        yield from sorted(found) if beside else found


def agrees(shown: str, printed: str) -> bool:
    """`...` stands for any part of a line, and on a line of its own for any lines."""
    pattern = ""
    for line in in_order([steady(line) for line in shown.splitlines()]):
        pattern += "(?:.*\n)*?" if line.strip() == "..." else re.escape(line).replace(re.escape("..."), ".*") + "\n"
    text = "".join(f"{line}\n" for line in in_order([steady(line) for line in printed.splitlines()]))
    return re.fullmatch(pattern, text) is not None


TYPED: Final = [page for page in PAGES if any(block.language == "console" for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", TYPED, ids=name)
def test_each_example_of_a_page_runs_and_prints_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    found = run(page, tmp_path)

    for command, printed, _ in found:
        place = f"{name(page)}:{command.line}"
        assert agrees(command.printed, printed), f"{place}: $ {command.typed}\nprinted\n{printed}"
    asked = {at for at, (command, _, _) in enumerate(found) if command.typed == "echo $?"}
    failed = {at for at, (_, _, code) in enumerate(found) if code}
    hidden = [f"{name(page)}:{found[at][0].line}: exit code {found[at][2]}" for at in failed if at + 1 not in asked]
    assert not hidden, "a page shows the exit code of what fails, by `echo $?`"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_block_of_a_page_is_run_or_only_to_be_read(page: Path) -> None:
    for block in blocks(page):
        place = f"{name(page)}:{block.line}"
        if block.language == "sh":
            assert set(block.text.splitlines()) <= SETUP, place
        elif block.language not in SHOWN | {"console", "yaml", "toml"}:
            assert block.path, f"{place}: a file's block says its path after the language"


UNUSED: Final = [(page, block) for page in PAGES for block in blocks(page) if block.language in ("yaml", "toml")]


@pytest.mark.slow
@pytest.mark.parametrize(("page", "block"), UNUSED, ids=[f"{name(page)}:{block.line}" for page, block in UNUSED])
def test_each_manifest_or_settings_file_of_a_page_is_used(page: Path, block: Block, tmp_path: Path) -> None:
    later = [c.typed for b in blocks(page) if b.line > block.line and b.language == "console" for c in commands(b)]
    if block.path:
        assert any(typed.startswith("qrun ") for typed in later)
        return
    env = environment(tmp_path / "home")
    shutil.copytree(ROOT / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("results"))
    file = "qrun.toml" if block.language == "toml" else "specs/bell.yaml"
    (tmp_path / file).write_text(block.text, encoding="utf-8")

    done = qrun("apply", "specs/bell.yaml", cwd=tmp_path, env=env)

    assert done.returncode == 0, done.stderr


def test_the_manifest_in_the_readme_is_the_one_that_make_demo_runs() -> None:
    block = next(block for block in blocks(ROOT / "README.md") if block.path == "specs/bell.yaml")

    shown = [line for line in block.text.splitlines() if line and not line.startswith("#")]

    there = [line for line in (ROOT / block.path).read_text().splitlines() if line and not line.startswith("#")]
    assert shown == there


def qrun(*arguments: str, cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["qrun", *arguments], cwd=cwd, env=env, capture_output=True, encoding="utf-8", check=False)


@pytest.mark.parametrize("spec", SPECS, ids=name)
def test_each_manifest_of_the_repository_is_valid_runs_and_then_has_nothing_to_do(spec: Path, tmp_path: Path) -> None:
    env = environment(tmp_path / "home")
    shutil.copytree(ROOT / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("results"))
    (tmp_path / ".git").mkdir()
    path = str(spec.relative_to(ROOT))

    valid = qrun("validate", path, cwd=tmp_path, env=env)
    first = qrun("apply", path, cwd=tmp_path, env=env)
    kept = {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if committed(file)}
    second = qrun("apply", path, cwd=tmp_path, env=env)

    assert (valid.returncode, valid.stderr) == (0, "")
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0
    assert second.stdout.startswith("nothing to do: ")
    assert {file: file.read_bytes() for file in (tmp_path / "results").rglob("*") if committed(file)} == kept


@pytest.mark.parametrize("spec", CLOUDS, ids=name)
def test_each_manifest_for_a_cloud_is_valid_and_planned_where_nobody_says_which_cloud(
    spec: Path, tmp_path: Path
) -> None:
    env = environment(tmp_path / "home")
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    path = str(spec.relative_to(ROOT))

    valid = qrun("validate", path, cwd=tmp_path, env=env)
    planned = qrun("plan", path, "--detailed-exitcode", cwd=tmp_path, env=env)

    assert (valid.returncode, valid.stderr) == (0, "")
    assert (planned.returncode, planned.stderr) == (2, "")


def committed(file: Path) -> bool:
    return file.is_file() and ".qrun" not in file.parts


# --- completeness -----------------------------------------------------------------------------------------------------


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of the same rank or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$\n(.*?)(?=^#{{1,6}} |\Z)", text_of(page), re.MULTILINE | re.DOTALL)
    assert found is not None, f'{page} has no section "{title}"'
    rank = len(found[1])
    rest = text_of(page)[found.start(2) :]
    return re.split(rf"^#{{1,{rank}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def named(text: str) -> set[str]:
    """Everything between back quotes, and each word of it."""
    quoted = re.findall(r"`([^`\n]+)`", text)
    return {
        *quoted,
        *(part for one in quoted for part in re.findall(r"[\w.-]+|\w+", one + " " + one.replace(".", " "))),
    }


def tree(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for sub in command.list_commands(context):
            below = command.get_command(context, sub)
            assert below is not None
            yield from tree(below, f"{path} {sub}")
    else:
        yield path, command


COMMANDS: Final = dict(tree(cli, "qrun"))


@pytest.mark.parametrize("path", COMMANDS)
def test_each_command_has_a_section_with_all_of_its_options_and_arguments(path: str) -> None:
    words = named(section("docs/commands.md", path))

    for parameter in COMMANDS[path].params:
        wanted = parameter.opts if isinstance(parameter, click.Option) else [parameter.make_metavar(context(path))]
        missing = [
            one for one in wanted if one.strip("[].") not in {w.strip("[].") for w in words} and one != "--debug"
        ]
        assert not missing, f"docs/commands.md: {path}: {missing}"


def context(path: str) -> click.Context:
    return click.Context(COMMANDS[path])


def test_no_command_is_described_that_does_not_exist() -> None:
    titles = set(re.findall(r"^#+ (qrun .*)$", text_of("docs/commands.md"), re.MULTILINE))

    assert titles == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_names_no_command_that_does_not_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = [command.typed for block in blocks(page) if block.language == "console" for command in commands(block)]
    spoken = re.findall(r"`(qrun [^`\n]+)`", re.sub(FENCE, "", text))

    used = {words.split()[1] for words in [*typed, *spoken] if words.startswith("qrun ")}
    assert {word for word in used if word.isalpha() and word.islower()} <= {path.split()[1] for path in COMMANDS}


def test_no_option_is_described_that_a_command_does_not_have() -> None:
    for path, command in COMMANDS.items():
        shown = set(re.findall(r"`(--[a-z-]+)", section("docs/commands.md", path)))
        options = [p for p in command.params if isinstance(p, click.Option)]
        there = {one for p in options for one in (*p.opts, *p.secondary_opts) if one.startswith("--")}
        assert shown <= there, f"docs/commands.md: {path} has no {shown - there}"


def test_each_exit_code_is_in_the_table_of_exit_codes() -> None:
    rows = set(re.findall(r"^\| (\d+) \|", section("docs/commands.md", "Exit codes"), re.MULTILINE))

    codes = {value for key, value in vars(exits).items() if key.isupper() and isinstance(value, int)}
    raised = {
        kind.exit for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.QrunError)
    }
    assert rows == {str(code) for code in codes | raised}


def test_each_code_of_an_error_is_named() -> None:
    codes = {
        kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.QrunError)
    }

    assert codes <= named(section("docs/commands.md", "JSON"))


def test_each_event_and_each_of_its_fields_is_in_the_table_of_events() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section("docs/commands.md", "Events"), re.MULTILINE))

    events = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower(): kind for kind in get_args(Event)}
    assert rows.keys() == events.keys()
    for kind, event in events.items():
        assert named(rows[kind]) == {item.name for item in fields(event)}, kind


def test_the_word_of_an_event_is_its_name_in_the_table() -> None:
    for kind in get_args(Event):
        values = {item.name: () if "tuple" in str(item.type) else "" for item in fields(kind)}
        assert f"| `{word(kind(**values))}` |" in section("docs/commands.md", "Events")


def test_each_action_and_each_phase_is_named() -> None:
    assert {str(action) for action in Action} <= named(section("docs/commands.md", "qrun plan"))
    assert {str(phase) for phase in Phase} <= named(section("docs/commands.md", "qrun status"))


JSON_COMMANDS: Final = (
    ["validate"],
    ["render"],
    ["plan"],
    ["apply"],
    ["plan"],
    ["sync"],
    ["status"],
    ["show", "bell"],
    ["devices", "local"],
    ["why", "bell"],
    ["retry", "--failed"],
    ["verify"],
    ["gc"],
    ["doctor"],
)
CONTENT: Final = frozenset({"counts", "params", "options", "libraries", "summary", "provided"})  # keys are data


def test_each_field_of_each_json_document_is_named(tmp_path: Path) -> None:
    env = environment(tmp_path / "home")
    (tmp_path / "lab").mkdir()
    qrun("init", "lab", cwd=tmp_path, env=env)
    manifest = tmp_path / "lab" / "specs" / "bell.yaml"

    found: set[str] = set()
    for attempt in range(2):
        for words in JSON_COMMANDS:
            done = qrun(*words, "-o", "json", cwd=tmp_path / "lab", env=env)
            assert done.returncode == 0, done.stderr
            found |= set(keys(json.loads(done.stdout)))
        if not attempt:
            manifest.write_text(manifest.read_text().replace("shots: 1000", "shots: 2000"))

    missing = found - named(section("docs/commands.md", "JSON")) - named(text_of("docs/results.md"))
    assert not missing


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in CONTENT:
                yield from keys(item)


def test_each_schema_that_can_be_printed_is_there_and_is_described() -> None:
    assert set(NAMES) <= named(section("docs/commands.md", "qrun schema"))
    assert [kind for kind in NAMES if not (ROOT / "schemas" / f"{kind}.schema.json").exists()] == []


def test_the_reference_of_the_manifest_is_what_its_generator_writes() -> None:
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def schema(kind: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(text_of(f"schemas/{kind}.schema.json"))
    return loaded


def properties(value: Any) -> Iterator[str]:
    """The names of all fields in a schema."""
    if isinstance(value, list):
        for item in value:
            yield from properties(item)
    elif isinstance(value, dict):
        if isinstance(value.get("properties"), dict):
            yield from value["properties"]
        for key, item in value.items():
            if key not in ("examples", "if"):
                yield from properties(item)


def test_each_field_of_a_manifest_is_in_its_reference() -> None:
    assert set(properties(schema("manifest"))) <= named(text_of("docs/manifest.md"))


def test_each_field_of_a_lock_line_and_of_a_record_is_described() -> None:
    lock = named(section("docs/results.md", "qrun.lock"))
    record = named(section("docs/results.md", "record.json")) | named(
        section("docs/results.md", "Attempts and outputs")
    )

    assert set(properties(schema("lock"))) <= lock | named(section("docs/results.md", "Attempts and outputs"))
    assert set(properties(schema("record"))) <= record


def test_each_fact_of_the_journal_is_described_with_its_fields() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", section("docs/results.md", "The journal"), re.MULTILINE))

    assert rows.keys() == {*FACTS, "opened"}
    for kind, fact in FACTS.items():
        assert {item.name for item in fields(fact)} <= named(rows[kind]), kind


def test_each_setting_and_each_known_host_is_described() -> None:
    words = named(text_of("docs/settings.md"))

    assert set(properties(schema("project"))) <= words
    assert {host for hosts in HOSTS.values() for host in hosts} <= words


def test_each_variable_of_the_environment_that_is_read_is_described() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "qrun/settings").glob("*.py"))
    read = set(re.findall(r'"(QRUN_[A-Z_]+)"', code))

    assert read <= named(text_of("docs/settings.md"))


@pytest.mark.parametrize("kind", ["manifest", "project"])
def test_each_example_in_a_schema_is_valid(kind: str) -> None:
    whole = schema(kind)

    for place, field in described(whole, ()):
        judge = Draft202012Validator({**field, "$defs": whole["$defs"]})
        for example in field["examples"]:
            assert judge.is_valid(example), (kind, place, example)


def described(value: Any, place: Sequence[str]) -> Iterator[tuple[Sequence[str], dict[str, Any]]]:
    if isinstance(value, dict):
        if isinstance(value.get("examples"), list):
            yield place, value
        for key, item in value.items():
            if key != "examples":
                yield from described(item, (*place, key))
    elif isinstance(value, list):
        for item in value:
            yield from described(item, place)


def test_the_layers_are_drawn_as_they_are_and_each_part_of_them_is_described() -> None:
    page = ROOT / "docs" / "architecture.md"
    drawn = next(b.text for b in blocks(page) if b.language == "text" and "job  archive" in b.text)
    rows = re.findall(r"^\| `(\w+)/?` \|", page.read_text(encoding="utf-8"), re.MULTILINE)

    assert [set(line.split()) for line in drawn.splitlines()] == list(LAYERS)
    assert set(LEVEL) <= set(rows)


# --- links and places -------------------------------------------------------------------------------------------------

LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", re.sub(FENCE, "", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name)
def test_each_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(FENCE, "", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)}: {link}"
        assert target.is_relative_to(ROOT), f"{name(page)}: {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)}: {link}"


def test_each_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(text_of("README.md"))}

    assert {name(page) for page in PAGES} - {"README.md"} <= linked


PLACES: Final = [place for place in (str(ROOT), str(Path.home())) if len(place) > 1]
MACHINE: Final = re.compile(rf"(?<![\w.~$}}])(?:{'|'.join(map(re.escape, PLACES))}|/(?:work|root))/\w")
REGISTRY: Final = re.compile(r"\b(?:pypi|pythonhosted|anaconda|npmjs|crates)\.(?:org|com|io)\b")


def test_no_file_names_a_place_on_one_machine_or_a_package_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )

    for path in listed.stdout.decode().split("\0"):
        file = ROOT / path
        if not path or not file.is_file():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        for pattern in (MACHINE, REGISTRY):
            hit = pattern.search(text)
            assert hit is None, f"{path}:{text.count(chr(10), 0, hit.start()) + 1}: {hit[0]}"
