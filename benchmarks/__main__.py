"""`python -m benchmarks [--quick]`: the speed and size that qrun promises, against figures of the same machine and run.

Everything runs as whole processes in temporary folders. `--quick` leaves out the 100 000-job manifest.
"""

from __future__ import annotations

import argparse
import compileall
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import qrun
from benchmarks.measure import Figure, Run, median, once, ratio, side_by_side
from benchmarks.transports import transports

BASE = [sys.executable, "-c", "import click"]
SIX = [sys.executable, "-c", "import yaml, jsonschema, httpx, grpc, click, jinja2"]
SPECS = Path(qrun.__file__).parent.parent / "specs"


def tool(name: str) -> list[str]:
    """A console script of the environment that runs this."""
    return [str(Path(sys.executable).parent / name)]


QRUN = tool("qrun")


def workspace(folder: Path, count: int) -> Path:
    """A manifest of `count` explicit jobs, each with a small program of its own."""
    programs = folder / "programs"
    programs.mkdir(parents=True)
    lines = ["name: big", "defaults: {provider: local, device: ddsim}", "jobs:"]
    for i in range(count):
        (programs / f"p{i:06}.qasm").write_text(
            f'// {i}\nOPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\nmeasure q -> c;\n'
        )
        lines.append(f"  j{i:06}:\n    program: programs/p{i:06}.qasm\n    shots: 100")
    (folder / "big.yaml").write_text("\n".join(lines) + "\n")
    (folder / "dodo.py").write_text(DODO)
    return folder


DODO = """
import pathlib
def touch(targets):
    pathlib.Path(targets[0]).parent.mkdir(exist_ok=True)
    pathlib.Path(targets[0]).write_text("done")
def task_simulate():
    for path in sorted(pathlib.Path("programs").iterdir()):
        yield {"name": path.stem, "file_dep": [str(path)], "targets": [f"out/{path.stem}"], "actions": [touch]}
"""


def starts(folder: Path) -> Iterator[Figure]:
    base, six = side_by_side(partial(once, BASE, folder), partial(once, SIX, folder))
    print(f"import click {median(base) * 1000:.0f} ms, the six packages {median(six) * 1000:.0f} ms (whole processes)")
    for option in ("--help", "--version"):
        mine, base = side_by_side(partial(once, [*QRUN, option], folder), partial(once, BASE, folder))
        yield Figure(name=f"qrun {option}", value=ratio(mine, base), limit=1.5, unit="x import click", detail=ms(mine))


def planning(folder: Path, *, quick: bool) -> Iterator[Figure]:
    small = workspace(folder / "one", 1)
    large = workspace(folder / "plan", 10_000)
    plan = [*QRUN, "plan", "big.yaml"]
    mine, base = side_by_side(partial(once, plan, large), partial(once, BASE, large))
    yield Figure(
        name="cold plan of 10 000 jobs", value=ratio(mine, base), limit=30, unit="x import click", detail=ms(mine)
    )
    peak = (min(r.peak for r in mine) - once(plan, small).peak) / 10_000
    yield Figure(name="peak memory of plan", value=peak, limit=1024, unit="bytes a job", detail="above one job")
    if not quick:
        huge = workspace(folder / "huge", 100_000)
        runs = [once(plan, huge) for _ in range(3)]
        start = once(plan, small).seconds
        grown = (median(runs) - start) / (10 * (median(mine) - start))
        yield Figure(
            name="plan of 100 000 jobs", value=grown, limit=1.2, unit="x time a job at 10 000", detail=ms(runs)
        )
        shutil.rmtree(huge)


def nothing_to_do(folder: Path) -> Iterator[Figure]:
    done = workspace(folder / "done", 10_000)
    first = once([*QRUN, "apply", "big.yaml"], done)
    print(f"first apply of 10 000 jobs: {first.seconds:.1f} s")
    doit = tool("doit")
    once(doit, done)
    for command in ("apply", "status"):
        again = [*QRUN, command, "big.yaml"]
        mine, base = side_by_side(partial(once, again, done), partial(once, BASE, done))
        name = f"no-op {command} of 10 000 jobs"
        yield Figure(name=name, value=ratio(mine, base), limit=6.5, unit="x import click", detail=ms(mine))
        mine, theirs = side_by_side(partial(once, again, done), partial(once, doit, done))
        detail = f"doit {median(theirs):.2f} s"
        yield Figure(
            name=f"the same against doit ({command})",
            value=ratio(mine, theirs),
            limit=0.25,
            unit="x doit",
            detail=detail,
        )


def first_run(folder: Path) -> Iterator[Figure]:
    """What qrun adds to 1 000 trivial jobs: the whole command less its start and less the bare simulation."""
    runs = [once([*QRUN, "apply", "big.yaml"], workspace(folder / f"run{i}", 1_000)) for i in range(3)]
    one = once([*QRUN, "apply", "big.yaml"], workspace(folder / "run-one", 1))
    bare = once([sys.executable, "-c", BARE, str(folder / "run0" / "programs")], folder)
    own = (median(runs) - one.seconds - bare.seconds / 2) / 1_000 * 1000
    detail = f"{median(runs):.2f} s in all, bare simulation {bare.seconds:.2f} s"
    yield Figure(name="qrun's own cost of a job", value=own, limit=1.5, unit="ms", detail=detail)


BARE = """
import sys, pathlib
from mqt.core.dd import sample
from mqt.core.ir import QuantumComputation
for path in pathlib.Path(sys.argv[1]).iterdir():
    sample(QuantumComputation.from_qasm_str(path.read_text()), 100, 1)
"""


def bell(folder: Path) -> Iterator[Figure]:
    project = folder / "bell"
    (project / "specs").mkdir(parents=True)
    shutil.copytree(SPECS / "programs", project / "specs" / "programs")
    shutil.copy(SPECS / "bell.yaml", project / "specs" / "bell.yaml")
    (project / "qrun.toml").write_text("")

    def cold() -> Run:
        shutil.rmtree(project / "results", ignore_errors=True)
        return once([*QRUN, "apply", "specs/bell.yaml"], project)

    mine, base = side_by_side(cold, partial(once, BASE, project))
    yield Figure(
        name="qrun apply specs/bell.yaml", value=ratio(mine, base), limit=15, unit="x import click", detail=ms(mine)
    )


def journal(folder: Path) -> Iterator[Figure]:
    """10 000 intents in groups of 100, each group durable, against one durable file a job."""
    from benchmarks.journal import appended, durable_files, noted

    alone = min(appended(folder / f"a{i}", jobs=10_000, group=100) for i in range(3))
    whole = min(noted(folder / f"n{i}", jobs=10_000, group=100) for i in range(3))
    files = durable_files(folder / "f", jobs=1_000)
    detail = f"{whole:.0f} us with the facts folded into the records; one file a job {files:.0f} us"
    yield Figure(name="journal in groups of 100", value=alone, limit=20, unit="us a job", detail=detail)


def ms(runs: Sequence[Run]) -> str:
    return f"{median(runs) * 1000:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="leave out the 100 000-job manifest")
    parser.add_argument("--only", default="", help="names of groups, separated by commas")
    options = parser.parse_args()
    compileall.compile_dir(str(Path(qrun.__file__).parent), quiet=1)
    groups = {
        "starts": starts,
        "plan": lambda folder: planning(folder, quick=options.quick),
        "noop": nothing_to_do,
        "run": first_run,
        "bell": bell,
        "journal": journal,
        "http": transports,
    }
    chosen = [name for name in groups if name in options.only.split(",")] or list(groups)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="qrun-bench-") as temporary:
        for name in chosen:
            folder = Path(temporary) / name
            folder.mkdir()
            for figure in groups[name](folder):
                sign = "ok  " if figure.met else "OVER"
                told = f"{figure.value:10.2f} {figure.unit} (limit {figure.limit:g}; {figure.detail})"
                print(f"{sign} {figure.name:40}{told}", flush=True)
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
