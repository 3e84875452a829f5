"""The device `pulser`: sequences of laser pulses in Pulser's abstract representation, simulated by Pulser with QuTiP.

The sequence's variables are bound from `params`. A key has one character for each atom, in the order of the register.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import pulser
import pulser_simulation
from pulser.backend.default_observables import BitStrings
from pulser.exceptions.serialization import AbstractReprError, DeserializeDeviceError
from pulser_simulation import QutipBackendV2, QutipConfig

from qrun.providers.local.normal import sampled
from qrun.providers.local.openqasm.tokens import ProgramError
from qrun.providers.local.size import size

LIBRARIES: Final = {"pulser-core": pulser.__version__, "pulser-simulation": pulser_simulation.__version__}


def sample(
    text: str, params: Mapping[str, Any], shots: int, seed: int, options: Mapping[str, Any], memory: int
) -> dict[str, Any]:
    """Results in the normal form; raises ProgramError, and ValueError for what Pulser refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pulser's advice is for whoever writes the sequence in Python
        sequence = bound(load(text), params)
        atoms = [str(atom) for atom in sequence.register.qubit_ids]
        _check_memory(len(atoms), memory)
        import_module("numpy").random.seed(seed % 2**32)  # the generator that Pulser draws from
        return sampled(atoms, _run(sequence, shots, options.get("sampling_rate", 1.0)))


def load(text: str) -> Any:
    try:
        plain = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProgramError(f"the program is not JSON: {error.msg.lower()}", error.lineno, error.colno) from error
    if not isinstance(plain, dict):
        raise ProgramError("the program is not a sequence in Pulser's abstract representation", 1, 1)
    try:
        return pulser.Sequence.from_abstract_repr(text)
    except (AbstractReprError, DeserializeDeviceError, *_refusals()) as error:
        raise ValueError(f"pulser: {_first_line(error)}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """What Pulser raises for a sequence that it does not accept; the first comes from the library it validates with."""
    invalid: type[Exception] = import_module("jsonschema").ValidationError
    return (invalid, ValueError, TypeError, KeyError, NotImplementedError, RuntimeError)


def bound(sequence: Any, params: Mapping[str, Any]) -> Any:
    """The sequence with its variables bound; every one needs a value, and every value belongs to one."""
    if sequence.is_register_mappable():
        raise ValueError("the register is chosen later, which is not supported; give the atoms' places")
    variables = sequence.declared_variables
    for name in params:
        if name not in variables:
            known = f"its variables are {', '.join(sorted(variables))}" if variables else "it has no variables"
            raise ValueError(f"params.{name} is not a variable of the sequence; {known}")
    values = {name: _value(variable, params) for name, variable in variables.items()}
    if not values:
        return sequence
    try:
        return sequence.build(**values)
    except (ValueError, TypeError) as error:
        raise ValueError(f"pulser: {_first_line(error)}") from error


def _value(variable: Any, params: Mapping[str, Any]) -> Any:
    name, count = variable.name, variable.size
    if name not in params:
        raise ValueError(f'variable "{name}" has no value; give it under params: {name}')
    given = params[name]
    items = given if isinstance(given, list) else [given]
    whole = issubclass(variable.dtype, int)
    if len(items) != count or not all(_is_number(item, whole) for item in items):
        noun = "whole number" if whole else "number"
        wanted = f"a {noun}" if count == 1 else f"a list of {count} {noun}s"
        raise ValueError(f"params.{name} is {json.dumps(given)}; {wanted} is needed")
    return given


def _is_number(item: Any, whole: bool) -> bool:
    if isinstance(item, bool) or not isinstance(item, (int, float)) or not math.isfinite(item):
        return False
    return not whole or float(item).is_integer()


def _run(sequence: Any, shots: int, sampling_rate: float) -> Mapping[str, int]:
    config = QutipConfig(observables=[BitStrings(num_shots=shots)], sampling_rate=sampling_rate)
    try:
        results = QutipBackendV2(sequence, config=config).run()
    except (ValueError, TypeError, NotImplementedError) as error:
        raise ValueError(f"pulser: {_first_line(error)}") from error
    return {key: int(number) for key, number in results.final_bitstrings.items()}


def _check_memory(atoms: int, memory: int) -> None:
    """A state has 2^n amplitudes; the interaction, in a sparse matrix, about n of them for each."""
    needed = 16 * 2**atoms * (atoms + 8)
    if memory and needed > memory:
        raise ValueError(
            f"{atoms} atoms need about {size(needed)}, and a worker may take {size(memory)}; "
            "use fewer atoms, or raise memory in the connection"
        )


def _first_line(error: Exception) -> str:
    text = error.args[0] if isinstance(error, KeyError) and error.args else str(error)
    return str(text).strip().partition("\n")[0]
