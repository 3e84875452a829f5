"""The registers that an OpenQASM program declares, seen from its tokens alone: no statement is carried out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from qrun.providers.local.openqasm.tokens import ProgramError, Text, Token, decode

WIDTH: Final = 100_000  # bits of a register; more is a slip
LONGEST: Final = 4 * 2**20  # bytes; a longer program is not looked through for the names of its bits
SIZES: Final = frozenset({"int", "uint"})


class Registers(NamedTuple):
    """The name of each bit and qubit in the order of declaration, which is that of their numbers."""

    bits: tuple[str, ...]
    qubits: tuple[str, ...]

    @property
    def characters(self) -> tuple[str, ...]:
        """What the characters of an outcome stand for, from left to right: bit 0 is the rightmost.

        A program without classical bits has all its qubits measured.
        """
        return tuple(reversed(self.bits or self.qubits))


@lru_cache(maxsize=64)
def registers(program: bytes) -> Registers | None:
    """None where they cannot be told: not OpenQASM, or a size that is not plain to see."""
    if len(program) > LONGEST:
        return None
    try:
        tokens = Text(decode(program)).tokens
    except ProgramError:
        return None
    known: dict[str, int] = {}
    bits: list[str] = []
    qubits: list[str] = []
    for statement in _statements(tokens):
        match [token.text for token in statement]:
            case ["const", kind, *_, name, "=", size] if kind in SIZES and size.isdecimal():
                known[name] = int(size)
            case ["output", "bit", *rest] | ["bit", *rest]:
                if not _declare(bits, _typed(rest), known):
                    return None
            case ["creg", name, *rest]:
                if not _declare(bits, (name, rest), known):
                    return None
            case ["qubit", *rest]:
                if not _declare(qubits, _typed(rest), known):
                    return None
            case ["qreg", name, *rest] if not _declare(qubits, (name, rest), known):
                return None
    return Registers(tuple(bits), tuple(qubits))


def _statements(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The statements outside of all blocks, without their semicolon."""
    found: list[Token] = []
    depth = 0
    for token in tokens:
        if token.kind == "mark" and token.text in "{}":
            depth += 1 if token.text == "{" else -1
            found = []
        elif depth:
            continue
        elif token.text == ";" or token.kind in ("pragma", "end"):
            if found:
                yield found
            found = []
        else:
            found.append(token)


def _typed(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """`[2] c = …` as its name and its size."""
    if words[:1] != ["["]:
        return (words[0] if words else "", [])
    close = words.index("]") if "]" in words else len(words)
    name = words[close + 1] if close + 1 < len(words) else ""
    return name, words[: close + 1]


def _declare(places: list[str], declared: tuple[str, Sequence[str]], known: dict[str, int]) -> bool:
    """Whether the size is plain to see; then its places are added."""
    name, size = declared
    match size:
        case []:
            places.append(name)
            return bool(name)
        case ["[", text, "]"]:
            width = int(text) if text.isdecimal() and len(text) < 8 else known.get(text, 0)
            if not (name and 0 < width <= WIDTH):
                return False
            places += [f"{name}[{place}]" for place in range(width)]
            return True
    return False
