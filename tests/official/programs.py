"""What the tests of this folder run, and what physics says of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

BELL: Final = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""
PAIR: Final = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
h q[0];
cx q[0], q[1];
"""
ONE: Final = """OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
x q[0];
c = measure q;
"""
COIN: Final = """OPENQASM 3.0;
include "stdgates.inc";
qubit[1] q;
bit[1] c;
h q[0];
c = measure q;
"""
BROKEN: Final = "OPENQASM 3.0;\nqubit[1] q;\nnonsense q[0];\n"
SCRIPT: Final = f"""\
from sse_driver import run_sampling

print("before")
print(run_sampling({BELL!r}, 1000))
print("after")
"""
FAILING: Final = "raise SystemExit('no luck today')\n"


def even(counts: Mapping[str, int], one: str, two: str, shots: int) -> bool:
    """Whether there is nothing but the two, each half of the time, within five standard deviations."""
    if set(counts) - {one, two} or sum(counts.values()) != shots:
        return False
    return abs(counts.get(one, 0) - shots / 2) <= 5 * math.sqrt(shots) / 2
