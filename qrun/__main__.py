"""`python -m qrun`: the same command as `qrun`."""

from qrun.cli import main

main()
