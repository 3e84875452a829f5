"""`qrun emulator up pasqal` and `env` as a reader of the documentation types them, with the example of the repository.

Left out where Pulser is not installed; `make official-pasqal` runs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator import ROOT
from tests.emulator_pasqal import start

pytest.importorskip("pulser", reason="the extra pulser is not installed")
pytest.importorskip("pulser_simulation", reason="the extra pulser is not installed")

SCRIPT = """\
qrun() { "$PYTHON" -m qrun "$@"; }
set -e
eval "$(qrun emulator env pasqal)"
qrun init > init.txt
qrun apply specs/clouds/pasqal.yaml --yes
qrun apply specs/clouds/pasqal.yaml --yes
"""


def test_the_example_for_the_cloud_runs_on_the_stand_in_without_any_connection(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "specs", tmp_path / "specs", ignore=shutil.ignore_patterns("results"))
    process, _ = start(str(tmp_path))
    try:
        done = subprocess.run(
            ["bash", "-c", SCRIPT],
            cwd=tmp_path,
            env={
                "HOME": str(tmp_path),
                "PATH": os.environ.get("PATH", ""),
                "PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        process.terminate()
        process.communicate(timeout=30)

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "rabi: 5 succeeded; results in results/rabi"
    assert second == "nothing to do: 5 jobs are done"
