"""The stand-in of an OQTOPUS cloud, in the API generation that hands out upload forms (docs/emulator.md).

Read in the order *jobs* (the rows), *asked* and *shown* (both ways between rows and the wire), *payload* and *work*
(what a device makes of a job), *devices*, *people*, *routes* (the API), *cloud* (all of it together).
"""

from __future__ import annotations

from qrun.emulators import Options
from qrun.emulators.oqtopus.cloud import Oqtopus
from qrun.emulators.server import Server
from qrun.emulators.stage import Service


def stand_in(options: Options) -> Service:
    return Server(options, Oqtopus)
