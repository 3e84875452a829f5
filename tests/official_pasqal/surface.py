"""What pasqal-cloud offers, method by method; how calls are seen is told in tests/official/surface.py."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any, Final

from tests.official.surface import Code, code

PACKAGE: Final = "pasqal_cloud"
LEFT_OUT: Final = {
    "pasqal_cloud.utils.mock_server": "a server for the tests of others, which the stand-in takes the place of",
}
OF_PYDANTIC: Final = "model_post_init"  # stands in every class and is nobody's code


def offered() -> dict[str, Code]:
    """Every public function, method and property that the package defines, as `module:Class.name`."""
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
            yield from ((f"{name}.{own}", value) for own, value in vars(member).items() if _called(own, value))
        elif inspect.isfunction(member):
            yield name, member


def _called(name: str, member: Any) -> bool:
    """Whether it is public, and somebody wrote code for it."""
    kinds = (property, classmethod, staticmethod)
    public = not name.startswith("_") and name != OF_PYDANTIC
    return public and (isinstance(member, kinds) or inspect.isfunction(member))
