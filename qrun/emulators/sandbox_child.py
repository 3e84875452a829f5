"""Inside the process of an uploaded program: limits first, then the program. Nothing but the standard library.

It is started as a script, by whatever interpreter serves the programs, so it must import nothing of qrun.
"""

from __future__ import annotations

import json
import resource
import runpy
import sys
from collections.abc import Mapping

BRIDGE = "the socket to whoever takes jobs"


def main(program: str, library: str, bridge: int, limits: Mapping[str, int]) -> None:
    for kind, most in (
        (resource.RLIMIT_CPU, limits["seconds"]),
        (resource.RLIMIT_AS, limits["memory"]),
        (resource.RLIMIT_FSIZE, limits["disk"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    sys.path.insert(0, library)
    sys.argv = [program]
    setattr(sys, "_qrun_bridge", bridge)  # noqa: B010 - where the library finds it
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))
