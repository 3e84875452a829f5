"""The layers of the code: lower never imports higher, and each kind of I/O has one home."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "qrun"

# From the ground up; a unit may import units above it in this list and nothing below.
LAYERS = (
    {"errors", "canonical", "clock", "budget", "foreign", "redact", "failpoint"},
    {"job", "archive", "pace"},
    {"record", "connection"},
    {"http"},
    {"fact", "marks", "containers"},
    {"provider"},
    {"plan"},
    {"events"},
    {"store", "providers", "settings"},
    {"manifest", "apply", "emulators"},
    {"render"},
    {"cli"},
)
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}

# Which files may import what; everything else of the standard library and our own is free.
HOMES = {
    "yaml": ("manifest/", "cli/render.py", "render/"),
    "jsonschema": ("manifest/schema.py",),
    "referencing": ("manifest/schema.py",),
    "jinja2": ("manifest/template_child.py",),
    "click": ("cli/",),
    "rich": ("render/", "cli/"),
    "platformdirs": ("settings/",),
    "mqt": ("providers/local/",),
    "qiskit": ("providers/local/",),
    "qiskit_aer": ("providers/local/",),
    "pulser": ("providers/local/", "emulators/pasqal/"),
    "pulser_simulation": ("providers/local/", "emulators/pasqal/"),
    "httpcore": ("http/",),
    "httpx": ("http/",),
    "uvicorn": ("emulators/",),
    "grpc": ("providers/iqm/",),
}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def unit(path: Path) -> str:
    return name(path).split("/")[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}:{node.lineno}: imports are absolute"
            yield node.module or "", node.lineno


@pytest.mark.parametrize("path", files(), ids=name)
def test_lower_never_imports_higher(path: Path) -> None:
    here = unit(path)
    if here in ("__init__", "__main__"):
        return
    assert here in LEVEL, f"{here} has no layer yet"

    for module, line in imports(path):
        there = module.split(".")[1] if module.startswith("qrun.") else None
        if there is None or there == here:
            continue
        assert LEVEL[there] < LEVEL[here], f"{name(path)}:{line}: {here} imports {there}"


@pytest.mark.parametrize("path", files(), ids=name)
def test_each_library_has_one_home(path: Path) -> None:
    for module, line in imports(path):
        homes = HOMES.get(module.split(".")[0])
        assert homes is None or name(path).startswith(homes), f"{name(path)}:{line}: {module}"


@pytest.mark.parametrize("path", files(), ids=name)
def test_only_settings_reads_the_environment(path: Path) -> None:
    reads = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")
    ]

    assert not reads or name(path).startswith("settings/"), f"{name(path)}: lines {reads}"


@pytest.mark.parametrize("path", files(), ids=name)
def test_only_the_command_line_prints_and_exits(path: Path) -> None:
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Name) and node.func.id in ("print", "exit"))
            or (isinstance(node.func, ast.Attribute) and ast.unparse(node.func) in ("sys.exit", "os._exit"))
        )
    ]
    own_process = ("providers/local/worker.py", "manifest/template_child.py")

    assert not calls or name(path).startswith("cli/") or name(path) in (*own_process, "__main__.py"), (
        f"{name(path)}: lines {calls}"
    )
