"""What pasqal-cloud offers, method by method; how calls are seen is told in tests/official/surface.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, Final

from tests.official.surface import Code, code

PACKAGE: Final = "pasqal_cloud"
LEFT_OUT: Final = {
    "pasqal_cloud.utils.mock_server": "a server for the tests of others, which the stand-in takes the place of",
}
OF_PYDANTIC: Final = "model_post_init"  # stands in every class and is nobody's code


def offered() -> dict[str, Code]:
    """Every public function, method and property that the package defines, as `module:Class.name`; a property that can
    be set as `module:Class.name =` too, and what is called to make an object as `module:Class.__init__`.
    """
    return {
        f"{module}:{name}": code(member)
        for module in _modules()
        if module not in LEFT_OUT
        for name, member in _members(importlib.import_module(module))
    }


def _modules() -> Iterator[str]:
    yield PACKAGE
    for module in pkgutil.walk_packages(importlib.import_module(PACKAGE).__path__, f"{PACKAGE}."):
        yield module.name


def _members(module: Any) -> Iterator[tuple[str, Any]]:
    for name, member in vars(module).items():
        if name.startswith("_") or getattr(member, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(member):
            yield from ((f"{name}.{own}", value) for own, value in _own(member))
        elif inspect.isfunction(member):
            yield name, member


def _own(kind: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(kind).items():
        if _called(kind, name, member):
            yield name, member
        if isinstance(member, property) and member.fset is not None:
            yield f"{name} =", member.fset


def _called(kind: type, name: str, member: Any) -> bool:
    """Whether it is public, and somebody wrote code for it. Errors are made by the package itself."""
    kinds = (property, classmethod, staticmethod)
    made = name == "__init__" and not issubclass(kind, BaseException) and not is_dataclass(kind)
    public = made or not (name.startswith("_") or name == OF_PYDANTIC)
    return public and (isinstance(member, kinds) or inspect.isfunction(member))
