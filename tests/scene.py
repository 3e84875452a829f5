"""One experiment on one cloud in memory: what the tests of the core set up, run, kill and run again."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from qrun.apply import Apply, Outcome
from qrun.apply.publication import Command
from qrun.apply.traffic import Limits, Traffic
from qrun.events import Event
from qrun.job import Conduct, Job, Program, Target, digests
from qrun.plan import Policy
from qrun.provider import Recovery
from qrun.record import Phase
from tests.cloud import Cloud, MemoryProvider, capabilities
from tests.shelf import Killed, Shelf
from tests.virtual import VirtualClock

SOURCE = b'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; x q[0]; measure q -> c;\n'
PROGRAM = Program(path="programs/x.qasm", sha256=sha256(SOURCE).hexdigest(), size=len(SOURCE))
QPU = Target(connection="sky", provider="memory", device="qpu", site="sky.example/p")


def job(
    key: str, *, target: Target = QPU, conduct: Conduct | None = None, tags: Sequence[str] = (), **given: Any
) -> Job:
    """A job as the manifest layer makes it."""
    fields: dict[str, Any] = {"shots": 100, "params": {}} | given
    whole, without = digests(
        provider=target.provider,
        device=target.device,
        kind="sampling",
        programs=[PROGRAM.sha256],
        site=target.site,
        **fields,
    )
    return Job(
        experiment="exp",
        key=key,
        target=target,
        kind="sampling",
        digest=whole,
        digest_without_site=without,
        programs=(PROGRAM,),
        tags=tuple(tags),
        conduct=conduct or Conduct(),
        **fields,
    )


class Scene:
    def __init__(self, recovery: Recovery = Recovery.SEARCH, **cloud: Any) -> None:
        self.clock = VirtualClock()
        self.cloud = Cloud(clock=self.clock, recovery=recovery, **cloud)
        self.shelf = Shelf()
        self.events: list[Event] = []
        self.publish: Command | None = None
        self.limits = Limits()

    def loop(self, policy: Policy | None = None) -> Apply:
        provider = MemoryProvider(self.cloud)
        return Apply(
            store=self.shelf,
            connect=lambda connection: provider,
            capabilities=lambda name: capabilities(self.cloud),
            content=lambda program: SOURCE,
            policy=policy or Policy(),
            emit=self.events.append,
            clock=self.clock,
            publish=self.publish,
            traffic=Traffic(lambda _: self.limits),
        )

    def apply(self, *jobs: Job, policy: Policy | None = None) -> Outcome:
        """One command from start to end."""
        return self.clock.run(self.loop(policy).run(jobs))

    def killed(self, *jobs: Job, policy: Policy | None = None) -> None:
        """One command that a fault kills; the next one sees only what was durable."""
        try:
            self.apply(*jobs, policy=policy)
        except BaseExceptionGroup as group:
            if group.subgroup(Killed) is None:
                raise
        else:
            raise AssertionError("nothing killed the command")
        self.shelf = self.shelf.reopened()

    def fresh_clone(self) -> None:
        """A laptop is lost: no journal, no lock, the same project."""
        self.shelf = Shelf()

    def phases(self) -> dict[str, Phase]:
        return {record.key: record.phase for record in self.shelf.records}

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]
