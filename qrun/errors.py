"""Every way in which qrun fails, named by who acts.

QrunError
  UsageError        whoever typed the command        exit 64
  ManifestError     the author                       exit 65
  SettingsError     the operator                     exit 78
  StoreError        whoever keeps the results        exit 5
  StaleError        whoever saved the plan           exit 5
  BudgetError       whoever set the budget           exit 7
  ProviderError                                      exit 1
    Unavailable     nobody: later
    Denied          the operator: credentials
    Rejected        the author: the provider's own code and words are kept
    Missing         the object is not there (any more)
    Uncertain       sent, and the answer was lost
    Unexpected      we: the provider answered in a shape that we do not know
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

__all__ = [
    "BudgetError",
    "Denied",
    "ManifestError",
    "Missing",
    "Problem",
    "ProviderError",
    "QrunError",
    "Rejected",
    "SettingsError",
    "StaleError",
    "StoreError",
    "Unavailable",
    "Uncertain",
    "Unexpected",
    "UsageError",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing that is wrong, where it stands, and what to do about it.

    `file` is as the user would type it; `line` and `column` count from 1; `field` is a dotted path such as
    `jobs.bell.shots`.
    """

    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    field: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        text = ": ".join(part for part in (place, self.field, self.message) if part)
        return f"{text}; {self.hint}" if self.hint else text

    @property
    def position(self) -> tuple[str, int, int]:
        return (self.file or "", self.line or 0, self.column or 0)


class QrunError(Exception):
    """What a command reports and ends with; `problems` holds one entry or more, in the order of their places."""

    exit: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(self, *problems: Problem | str, hint: str | None = None) -> None:
        listed = [p if isinstance(p, Problem) else Problem(message=p, hint=hint) for p in problems]
        self.problems = tuple(sorted(listed, key=lambda problem: problem.position))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def told(self) -> str:
        """What is wrong and where, without what to do about it: for a place where something is done already."""
        return "\n".join(str(replace(problem, hint=None)) for problem in self.problems)


class UsageError(QrunError):
    exit = 64
    code = "usage"


class ManifestError(QrunError):
    exit = 65
    code = "manifest"


class SettingsError(QrunError):
    exit = 78
    code = "settings"


class StoreError(QrunError):
    exit = 5
    code = "store"


class StaleError(QrunError):
    exit = 5
    code = "stale"


class BudgetError(QrunError):
    exit = 7
    code = "budget"


class ProviderError(QrunError):
    """`provider_code` and `words` are the provider's own, unchanged (renderers make them safe to show).

    `status` is the number of the HTTP answer that says so, None where there was none.
    """

    code = "provider"

    def __init__(
        self,
        *problems: Problem | str,
        hint: str | None = None,
        provider_code: str | None = None,
        words: str | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(*problems, hint=hint)
        self.provider_code = provider_code
        self.words = words
        self.status = status


class Unavailable(ProviderError):
    """Nothing reached the provider, or a question stayed unanswered: ask again later.

    `retry_after` is how many seconds the provider asks to be left alone.
    """

    code = "unavailable"

    def __init__(self, *problems: Problem | str, retry_after: float | None = None, **rest: Any) -> None:
        super().__init__(*problems, **rest)
        self.retry_after = retry_after


class Denied(ProviderError):
    code = "denied"


class Rejected(ProviderError):
    """Proof that nothing was started. `members` names the refused jobs' keys; empty means the whole submission."""

    code = "rejected"

    def __init__(self, *problems: Problem | str, members: tuple[str, ...] = (), **rest: Any) -> None:
        super().__init__(*problems, **rest)
        self.members = members


class Missing(ProviderError):
    code = "missing"


class Uncertain(ProviderError):
    code = "uncertain"


class Unexpected(ProviderError):
    code = "unexpected"
