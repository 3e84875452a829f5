"""How a number of bytes is shown."""

from __future__ import annotations


def size(number: int) -> str:
    """In MiB and upwards, to three digits."""
    amount = number / 2**20
    for unit in ("MiB", "GiB", "TiB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:.3g} PiB" if amount < 1000 else f"{amount:.0f} PiB"
