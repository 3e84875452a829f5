"""Manifests for tests: written to a folder, loaded, and what is wrong with them as lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from qrun.connection import Connection
from qrun.errors import ManifestError
from qrun.job import NOTHING, Job
from qrun.manifest import Experiment, Values, load
from qrun.provider import Capabilities, Kind, Recovery

OPTIONS = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "seed": {"type": "integer", "minimum": 1},
        "method": {"enum": ["dense", "sparse"]},
        "webhook": {"type": "string", "x-local": True},
    },
}
CAPABILITIES = Capabilities(
    provider="local",
    kinds={
        "sampling": Kind(
            fields=frozenset({"program", "shots", "params", "options", "tags"}),
            required=frozenset({"program", "shots"}),
            options=OPTIONS,
        ),
        "estimation": Kind(
            fields=frozenset({"program", "shots", "params", "observable", "tags"}),
            required=frozenset({"program", "observable"}),
        ),
    },
    default_kind="sampling",
    recovery={"": Recovery.LOCAL},
    devices=("ddsim", "aer"),
    remote=False,
)
CONNECTIONS = {
    "fresnel": Connection(name="fresnel", provider="local", site="cloud.example/project"),
    "hub": Connection(name="hub", provider="unbuilt"),
}
PROGRAM = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\nh q[0];\n'


def capabilities(provider: str) -> Capabilities:
    return {"local": CAPABILITIES}[provider]


def write(root: Path, text: str, name: str = "m.yaml") -> str:
    """The name of a manifest with this text, beside a program p.qasm."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(dedent(text))
    if not (root / "p.qasm").exists():
        (root / "p.qasm").write_text(PROGRAM)
    return name


def read(
    root: Path,
    *names: str,
    texts: Mapping[str, str] = NOTHING,
    typed: Mapping[str, Any] = NOTHING,
) -> Sequence[Experiment]:
    """Loads manifests of a folder, which has to be the current one."""
    return load(
        names,
        Values(texts=texts, typed=typed),
        root=str(root),
        connections=CONNECTIONS,
        capabilities=capabilities,
    )


def jobs(root: Path, text: str, **values: Any) -> dict[str, Job]:
    """The jobs of one manifest by their keys, in order."""
    return {job.key: job for experiment in read(root, write(root, text), **values) for job in experiment.jobs}


def complaints(root: Path, *names: str, **values: Any) -> list[str]:
    """What is wrong, as the user reads it."""
    with pytest.raises(ManifestError) as caught:
        read(root, *names, **values)
    return [str(problem) for problem in caught.value.problems]
