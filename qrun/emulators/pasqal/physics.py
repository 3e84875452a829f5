"""Sequences of laser pulses, simulated exactly by Pulser with QuTiP; for worker processes only.

A key of the counter has one character for each atom, in the order of the register.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final

from pulser.backend.default_observables import BitStrings
from pulser.noise_model import NoiseModel
from pulser_simulation import QutipBackendV2, QutipConfig
from pulser_simulation.hamiltonian import Hamiltonian

from qrun.providers.local.pulses import load

RUNS: Final = 1000  # where a job does not say how many
READOUT: Final = {"p_false_pos": 0.01, "p_false_neg": 0.03}  # of `with_noise`
HEEDED: Final = (
    frozenset(  # what a configuration may hold that means something to this simulator; others are passed over
        {
            "observables",
            "callbacks",
            "default_evaluation_times",
            "initial_state",
            "with_modulation",
            "interaction_matrix",
            "prefer_device_noise_model",
            "noise_model",
            "n_trajectories",
            "default_num_shots",
            "sampling_rate",
        }
    )
)

sequence_of = lru_cache(maxsize=16)(load)


def simulated(
    *,
    sequence: str,
    variables: Mapping[str, Any],
    runs: int | None,
    seed: int,
    configuration: str | None,
    noisy: bool,
    serialised: bool,
) -> dict[str, Any]:
    """Raises whatever Pulser raises for what it cannot do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pulser's advice is for whoever writes the sequence in Python
        built = sequence_of(sequence)
        if variables or built.is_parametrized() or built.is_register_mappable():
            built = built.build(**variables)
        import_module("numpy").random.seed(seed % 2**32)  # the generator that Pulser draws from
        results = QutipBackendV2(built, config=_config(configuration, runs, noisy=noisy)).run()
    return {
        "counter": _counter(results),
        "serialised_results": results.to_abstract_repr() if serialised or configuration is not None else None,
    }


def _config(text: str | None, runs: int | None, *, noisy: bool) -> Any:
    """The one that was asked for; whatever it observes, bit strings are among it."""
    if text is None:
        noise = NoiseModel(**READOUT) if noisy else NoiseModel()
        return QutipConfig(observables=[BitStrings(num_shots=runs or RUNS)], noise_model=noise)
    plain = {name: value for name, value in json.loads(text).items() if name in HEEDED}
    config = QutipConfig.from_abstract_repr(json.dumps(plain))
    if runs is not None:
        config = config.with_changes(default_num_shots=runs)
    if any(isinstance(each, BitStrings) for each in config.observables):
        return config
    return config.with_changes(observables=[*config.observables, BitStrings(num_shots=runs or RUNS)])


def _counter(results: Any) -> dict[str, int]:
    """Of the last measurement."""
    tag = next(tag for tag in results.get_result_tags() if tag.startswith("bitstrings"))
    return {key: int(number) for key, number in sorted(results.get_tagged_results()[tag][-1].items())}


# --- faster -----------------------------------------------------------------------------------------------------------


def _remember() -> None:
    """Makes each simulation five times as fast: Pulser asks QuTiP anew for the same few small matrices each time, and
    QuTiP rebuilds all of its dispatch tables whenever it is asked. Without that function it is only slower.
    """
    make = getattr(Hamiltonian, "_get_basis_op_matrices", None)
    if make is None:
        return
    kept = cache(lambda states: make(list(states)))

    def remembered(eigenbasis: Sequence[str]) -> tuple[dict[Any, Any], ...]:
        return tuple(dict(table) for table in kept(tuple(eigenbasis)))

    setattr(Hamiltonian, "_get_basis_op_matrices", staticmethod(remembered))  # noqa: B010 - mypy sees no such member


_remember()
