"""Where a command on Pasqal Cloud dies: one project and one account, and what somebody may do there before going on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.booked import End, at_rest, stopped
from tests.booked_pasqal import (
    APPLY,
    UNCLEAR,
    Jobs,
    Wanted,
    bought_once,
    patient,
    recorded,
    restore,
    sent,
    standing,
    write,
)
from tests.desk import Desk
from tests.edits_pasqal import EDITS
from tests.emulator_pasqal import Cloud
from tests.killing import CALLS, NETWORK, Look, Point, killed, points

DETOURS: Final = ("status", "sync", "close", "resolve", "lost")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`until` is when (as `time.monotonic` has it) no further trial begins; without a death the command is traced.

    `edit` is of EDITS and `detour` of DETOURS, or nothing.
    """

    story: str
    death: str | Point | None
    folder: Path
    cloud: Cloud
    edit: str = ""
    detour: str = ""
    until: float = float("inf")

    @property
    def name(self) -> str:
        place = f"{self.death.words}, number {self.death.when}" if isinstance(self.death, Point) else self.death
        detour = f", then {self.detour}" if self.detour else ""
        return f"{self.story}, killed at {place}{detour}{f', then {self.edit}' if self.edit else ''}"


@dataclass(kw_only=True, slots=True)
class Stage:
    """Where one trial is played. `kept` is what Git had before the command that dies."""

    trial: Trial
    desk: Desk
    account: Cloud
    look: Look
    calls: Sequence[Point] = ()
    kept: Mapping[str, bytes] = field(default_factory=dict)

    def begins(self, jobs: Jobs, *words: str) -> None:
        """What comes before, and ends well."""
        write(self.desk, jobs)
        self.well(patient(self.desk, *(words or APPLY)))

    def dies(self, *words: str) -> None:
        self.kept = self.desk.tree()
        match self.trial.death:
            case None:
                self.calls = points(self.desk, *words, calls=(*CALLS, *NETWORK))
            case Point() as call:
                self.look.reached = killed(self.desk, call, *words)[1]
            case failpoint:
                self.look.reached = stopped(self.desk, failpoint, *words)

    def meanwhile(self, jobs: Jobs) -> Wanted:
        """Another command, which sends nothing, and an edit; what is wanted from then on."""
        before = sent(self.account)
        if self.trial.detour:
            self._detour(self.trial.detour)
            self.look.expect(sent(self.account) == before, f"{self.trial.detour} has sent something")
        wanted = EDITS[self.trial.edit](jobs) if self.trial.edit else Wanted(jobs=jobs)
        write(self.desk, wanted.jobs)
        return replace(wanted, lost=self.trial.detour == "lost")

    def _detour(self, detour: str) -> None:
        match detour:
            case "lost":
                restore(self.desk, self.kept)
            case "resolve":
                if unclear := [name for name, phase in standing(self.desk).items() if phase in UNCLEAR]:
                    self.well(patient(self.desk, "resolve", *unclear, "--resubmit", "--yes"), 0, 3)
            case "close":
                self.well(patient(self.desk, "close", "--all"))
            case _:
                self.well(patient(self.desk, detour), 0, 3, 6)

    def well(self, end: End, *codes: int) -> None:
        self.look.expect(end.code in (codes or (0,)), f"it ends with {end.code}: {end.out} {end.err}")

    def applies(self, wanted: Wanted, *options: str) -> End:
        """Also what was changed; what it replaces is kept, and pays for itself."""
        write(self.desk, wanted.jobs)
        return patient(self.desk, "apply", "--yes", "--keep", *options)

    def ends(self, wanted: Wanted) -> None:
        """Nothing was bought twice, nothing is lost, and then all rests."""
        bought_once(self.account, self.look, wanted)
        recorded(self.desk, self.account, self.look, wanted)
        self.well(patient(self.desk, "close", "--all"))
        self.look.expect(not any(batch["open"] for batch in self.account.books()["batches"]), "a batch stays open")
        at_rest(self.desk, self.look, len(wanted.jobs))
