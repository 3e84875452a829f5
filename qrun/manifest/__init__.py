"""Manifests: YAML files become experiments, complete and checked. `load` is the way in.

The modules here are read in the order yaml, schema, expand, build, loading. Nothing heavy is imported before `load`
needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qrun.manifest.experiment import Experiment, Values

if TYPE_CHECKING:
    from qrun.connection import Connection
    from qrun.job import Program
    from qrun.provider import Capabilities

__all__ = ["Experiment", "Values", "content", "load", "variables"]


def load(
    files: Sequence[str],
    values: Values,
    *,
    root: str,
    connections: Mapping[str, Connection],
    capabilities: Callable[[str], Capabilities],
    known: Callable[[str], tuple[str, int] | None] | None = None,
) -> Sequence[Experiment]:
    """The experiments of some manifests in their order; ManifestError with all problems of all of them.

    A `provider` is a connection's name or else a provider's type. `capabilities` raises KeyError for a type that does
    not exist. `known` may spare the reading of a program: for its path, relative to the root, it gives the SHA-256 and
    the size of the bytes that are sent, or None.
    """
    from qrun.manifest import loading

    return loading.load(files, values, root=root, connections=connections, capabilities=capabilities, known=known)


def variables(file: str) -> Mapping[str, Any]:
    """The content of a --vars file, for `Values.typed`; ManifestError where it is no map."""
    from qrun.manifest import loading

    return loading.variables(file)


def content(root: str, program: Program) -> bytes:
    """The bytes of a program, the same that were hashed; ManifestError where they are not there any more."""
    from qrun.manifest import programs

    return programs.content(root, program)
