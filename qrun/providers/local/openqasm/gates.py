"""The gates that a program may use without defining them, and what the modifiers of OpenQASM 3 make of a gate.

A gate is a tuple of primitives on its own qubits, numbered from 0. Global phases are kept as `gphase`, because a
control turns them into something that can be measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from qrun.providers.local.openqasm.circuit import Gate

PI: Final = math.pi

Body = tuple[Gate, ...]

# name: (parameters, qubits); every simulator knows these, under any number of controls
PRIMITIVES: Final[Mapping[str, tuple[int, int]]] = {
    "id": (0, 1),
    "x": (0, 1),
    "y": (0, 1),
    "z": (0, 1),
    "h": (0, 1),
    "s": (0, 1),
    "sdg": (0, 1),
    "t": (0, 1),
    "tdg": (0, 1),
    "sx": (0, 1),
    "sxdg": (0, 1),
    "rx": (1, 1),
    "ry": (1, 1),
    "rz": (1, 1),
    "p": (1, 1),
    "u": (3, 1),
    "swap": (0, 2),
    "rxx": (1, 2),
    "ryy": (1, 2),
    "rzz": (1, 2),
    "gphase": (1, 0),
}

SELF_INVERSE: Final = frozenset({"id", "x", "y", "z", "h", "swap"})
INVERSES: Final = {"s": "sdg", "t": "tdg", "sx": "sxdg"}
INVERSES_BOTH: Final = INVERSES | {after: before for before, after in INVERSES.items()}
ROTATIONS: Final = frozenset({"rx", "ry", "rz", "p", "rxx", "ryy", "rzz", "gphase"})
# gates that are a power of a phase: as p(angle)
PHASES: Final = {"z": PI, "s": PI / 2, "sdg": -PI / 2, "t": PI / 4, "tdg": -PI / 4, "id": 0.0}
# and those that are a power of x: as h p(angle) h
FLIPS: Final = {"x": PI, "sx": PI / 2, "sxdg": -PI / 2}


class Known(NamedTuple):
    """A gate of the library; `body` takes the parameters."""

    params: int
    qubits: int
    body: Callable[..., Body]


def on(name: str, *params: float, controls: Iterable[int] = (), targets: Iterable[int] = ()) -> Gate:
    return Gate(name, params, tuple((qubit, True) for qubit in controls), tuple(targets))


def primitive(name: str, controls: int = 0) -> Known:
    """The primitive with so many controls before its own qubits."""
    params, qubits = PRIMITIVES[name]
    total = controls + qubits
    return Known(
        params,
        total,
        lambda *values: (on(name, *values, controls=range(controls), targets=range(controls, total)),),
    )


def cu(theta: float, phi: float, lam: float, gamma: float) -> Body:
    return (on("p", gamma, targets=[0]), on("u", theta, phi, lam, controls=[0], targets=[1]))


def u3(theta: float, phi: float, lam: float) -> Body:
    return (on("gphase", -(phi + lam) / 2), on("u", theta, phi, lam, targets=[0]))


def builtin_u(theta: float, phi: float, lam: float) -> Body:
    """`U` of OpenQASM 3, whose matrix carries the phase exp(i theta / 2) (OpenQASM 3 specification, "Gates")."""
    return (on("gphase", theta / 2), on("u", theta, phi, lam, targets=[0]))


def rccx() -> Body:
    h, t, tdg = on("h", targets=[2]), on("t", targets=[2]), on("tdg", targets=[2])
    near, far = on("x", controls=[1], targets=[2]), on("x", controls=[0], targets=[2])
    return (h, t, near, tdg, far, t, near, tdg, h)


def rc3x() -> Body:
    h, t, tdg = on("h", targets=[3]), on("t", targets=[3]), on("tdg", targets=[3])
    a, b, c = (on("x", controls=[qubit], targets=[3]) for qubit in (0, 1, 2))
    return (h, t, c, tdg, h, a, t, b, tdg, a, t, b, tdg, h, t, c, tdg, h)


def iswap() -> Body:
    return (
        on("s", targets=[0]),
        on("s", targets=[1]),
        on("h", targets=[0]),
        on("x", controls=[0], targets=[1]),
        on("x", controls=[1], targets=[0]),
        on("h", targets=[1]),
    )


def rzx(theta: float) -> Body:
    return (on("h", targets=[1]), on("rzz", theta, targets=[0, 1]), on("h", targets=[1]))


def ecr() -> Body:
    return (*rzx(PI / 4), on("x", targets=[0]), *rzx(-PI / 4))


LIBRARY: Final[Mapping[str, Known]] = {
    **{name: primitive(name) for name in PRIMITIVES if name != "gphase"},
    **{
        f"c{name}": primitive(name, 1) for name in ("x", "y", "z", "h", "s", "sdg", "sx", "p", "rx", "ry", "rz", "swap")
    },
    "ccx": primitive("x", 2),
    "ccz": primitive("z", 2),
    "c3x": primitive("x", 3),
    "c4x": primitive("x", 4),
    "c3sx": primitive("sx", 3),
    "c3sqrtx": primitive("sx", 3),
    "CX": primitive("x", 1),
    "phase": primitive("p"),
    "cphase": primitive("p", 1),
    "u0": Known(1, 1, lambda _: (on("id", targets=[0]),)),
    "u1": primitive("p"),
    "u2": Known(2, 1, lambda phi, lam: u3(PI / 2, phi, lam)),
    "u3": Known(3, 1, u3),
    "cu1": primitive("p", 1),
    "cu3": primitive("u", 1),
    "cu": Known(4, 2, cu),
    "rccx": Known(0, 3, rccx),
    "rc3x": Known(0, 4, rc3x),
    "rcccx": Known(0, 4, rc3x),
    "dcx": Known(0, 2, lambda: (on("x", controls=[0], targets=[1]), on("x", controls=[1], targets=[0]))),
    "iswap": Known(0, 2, iswap),
    "rzx": Known(1, 2, rzx),
    "ecr": Known(0, 2, ecr),
}

# What OpenQASM itself defines, without any include.
BUILTIN_2: Final[Mapping[str, Known]] = {"U": LIBRARY["u"], "CX": LIBRARY["CX"]}
BUILTIN_3: Final[Mapping[str, Known]] = {"U": Known(3, 1, builtin_u), "gphase": primitive("gphase")}


def inverse(body: Body) -> Body:
    return tuple(_inverse(gate) for gate in reversed(body))


def _inverse(gate: Gate) -> Gate:
    if gate.name in SELF_INVERSE:
        return gate
    if gate.name in INVERSES_BOTH:
        return gate._replace(name=INVERSES_BOTH[gate.name])
    if gate.name in ROTATIONS:
        return gate._replace(params=(-gate.params[0],))
    theta, phi, lam = gate.params
    return gate._replace(params=(-theta, -lam, -phi))


def controlled(body: Body, values: tuple[bool, ...]) -> Body:
    """The body under new qubits 0, 1, … that must have these values; its own qubits move up behind them."""
    count = len(values)
    added = tuple(enumerate(values))
    return tuple(
        gate._replace(
            controls=added + tuple((qubit + count, needed) for qubit, needed in gate.controls),
            targets=tuple(qubit + count for qubit in gate.targets),
        )
        for gate in body
    )


def power(body: Body, exponent: float) -> Body | None:
    """The body so many times; a fraction only of one gate that is a rotation, a phase or a power of x, else None."""
    if float(exponent).is_integer():
        return (body if exponent >= 0 else inverse(body)) * abs(int(exponent))
    if len(body) != 1:
        return None
    (gate,) = body
    if gate.name in ROTATIONS:
        return (gate._replace(params=(gate.params[0] * exponent,)),)
    if gate.name in PHASES:
        return (gate._replace(name="p", params=(PHASES[gate.name] * exponent,)),)
    if gate.name in FLIPS:
        h = Gate("h", (), (), gate.targets)
        return (h, gate._replace(name="p", params=(FLIPS[gate.name] * exponent,)), h)
    return None


def placed(body: Body, qubits: tuple[int, ...]) -> Body:
    """The body on these qubits, with the phases that nothing can see left out and the others made gates."""
    out: list[Gate] = []
    for gate in body:
        controls = tuple((qubits[qubit], needed) for qubit, needed in gate.controls)
        if gate.name == "gphase":
            out.extend(_phase(gate.params[0], controls))
        else:
            out.append(Gate(gate.name, gate.params, controls, tuple(qubits[qubit] for qubit in gate.targets)))
    return tuple(out)


def _phase(angle: float, controls: tuple[tuple[int, bool], ...]) -> Body:
    """A phase under controls is a phase gate on the last of them; where that must be 0, it is taken back for 1."""
    if not controls:
        return ()
    *others, (qubit, needed) = controls
    rest = tuple(others)
    if needed:
        return (Gate("p", (angle,), rest, (qubit,)),)
    return (*_phase(angle, rest), Gate("p", (-angle,), rest, (qubit,)))
