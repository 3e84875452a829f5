"""What the official packages offer, method by method, and which of it a piece of code has called.

A test says by `@runs(…)` what it calls; that it really does is seen by a profile function, which sees every call of
this process and leaves the packages as they are. So what `test_surface` adds up are calls, not promises.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, Final

import pytest

PACKAGES: Final = ("oqtopus_client", "quri_parts_oqtopus")

Code = tuple[str, str, int]  # file, qualified name and line: a module that is imported anew has the same


def runs(*methods: Any) -> pytest.MarkDecorator:
    """Names what a test calls: functions, methods, properties; a class stands for all of its own properties."""
    return pytest.mark.runs.with_args(*methods)


def codes(methods: Iterable[Any]) -> set[Code]:
    found: set[Code] = set()
    for method in methods:
        own = vars(method).values() if inspect.isclass(method) else [method]
        wanted = [each for each in own if isinstance(each, property)] if inspect.isclass(method) else own
        assert wanted, f"{method} has no properties of its own"
        found.update(code(each) for each in wanted)
    return found


def code(method: Any) -> Code:
    if isinstance(method, property):
        method = method.fget
    return _key(inspect.unwrap(getattr(method, "__func__", method)).__code__)


def offered(left_out: Callable[[str], bool]) -> dict[str, Code]:
    """Every public function, method and property that the packages define, as `module:Class.name`."""
    return {
        f"{module}:{name}": code(member)
        for module in _modules()
        if not left_out(module)
        for name, member in _members(importlib.import_module(module))
    }


@contextmanager
def watched() -> Iterator[set[Code]]:
    """What is called from here on, in this thread and in those that begin."""
    seen: set[Code] = set()

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            seen.add(_key(frame.f_code))  # not the code itself: generated methods of two classes are equal

    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        threading.setprofile(before)


def _key(code: CodeType) -> Code:
    """The line tells what reads a property from what sets it, which have one name."""
    return (code.co_filename, code.co_qualname, code.co_firstlineno)


def _modules() -> Iterator[str]:
    for package in PACKAGES:
        yield package
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
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
    return not name.startswith("_") and (isinstance(member, kinds) or inspect.isfunction(member))
