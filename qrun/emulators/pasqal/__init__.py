"""The stand-in of Pasqal Cloud: its account host, its core API and its results host (docs/emulator.md).

Read in the order *rows* (batches, jobs, workloads), *sequence*, *fields*, *asked*, *filters* and *shown* (both ways
between rows and the wire), *envelope* (how answers are worded), *tokens* (the account host), *devices*, *work* (the way
of a batch), *engine*, *worker* and *physics* (who computes), *desk* and *routes* (the core API), *cloud* (all of it
together), *server* (its sockets).
"""

from __future__ import annotations

from qrun.emulators import Options
from qrun.emulators.pasqal.engine import missing
from qrun.emulators.pasqal.server import PasqalServer
from qrun.emulators.stage import Service
from qrun.errors import SettingsError


def stand_in(options: Options) -> Service:
    """Raises SettingsError where the simulator is not installed: a stand-in without physics would tell lies."""
    library = missing()
    if library is not None:
        words = f"the stand-in of pasqal needs {library}, which is not installed"
        raise SettingsError(words, hint="pip install 'qrun-quantum[emulator,pulser]'")
    return PasqalServer(options)
