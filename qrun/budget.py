"""Limits on what may be sent, from settings and manifests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What may be sent; None is no limit. `total_*` count every attempt that the project's locks know."""

    max_jobs: int | None = None
    max_shots: int | None = None
    max_cost: float | None = None
    total_jobs: int | None = None
    total_shots: int | None = None
    total_cost: float | None = None
    allow_unknown_cost: bool = False

    def smaller(self, other: Budget) -> Budget:
        """Of two budgets the smaller wins, limit by limit; an unknown cost is allowed only where both allow it."""

        def least(one: float | None, two: float | None) -> float | None:
            return two if one is None else one if two is None else min(one, two)

        limits = {name: least(getattr(self, name), getattr(other, name)) for name in LIMITS}
        return Budget(**limits, allow_unknown_cost=self.allow_unknown_cost and other.allow_unknown_cost)  # type: ignore[arg-type]


LIMITS: Final = ("max_jobs", "max_shots", "max_cost", "total_jobs", "total_shots", "total_cost")
