"""A results directory as it stands, read without the mutex and without writing anything."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from qrun.errors import Problem, StoreError
from qrun.fact import Fact, fold
from qrun.job import NOTHING, Job, Program, rendered
from qrun.record import Output, Phase, Record, Records, union
from qrun.store import journal as journals
from qrun.store import lock as locks
from qrun.store import records as pages
from qrun.store.disk import Disk, Seal
from qrun.store.index import Index
from qrun.store.lines import POINTER, VERSION
from qrun.store.lock import Header, Name
from qrun.store.paths import LOCK, OURS, PRIVATE, RECORD, experiment_folder, job_folder, program_file, run_folder
from qrun.store.records import Details, Page, remember

RESULTS: Final = "results.json"
INLINE: Final = 64 * 1024  # a normal form of at most so many bytes stands in the record file
TRIES: Final = 5  # how often a reader looks again at a journal that changes under its eyes
EMPTY: Final = Details()


class View:
    """`records` is what the lock, the record files and the journal say together."""

    def __init__(self, disk: Disk, experiment: str, *, project: str | None, journal: tuple[Disk, str] | None = None):
        self.disk = disk
        self.experiment = experiment
        self.folder = experiment_folder(experiment)
        self.journal_file = journal or (disk, f"{self.folder}/{PRIVATE}/journal.jsonl")
        self.records = Records(project=project, experiment=experiment)
        self.header = Header(project=project, experiment=experiment, manifest="")
        self.index = Index.load(disk, experiment)
        self._details: dict[Name, Details] = {}
        self._rest: dict[Name, Mapping[str, Any]] = {}
        self._texts: dict[Name, bytes] = {}
        self._seal: Seal | None = None
        self._offered: dict[Name, Job] = {}
        self.ran_here = False  # whether this machine's journal is here, be it empty, and tells of all that was sent

    @property
    def manifest(self) -> str:
        """The manifest's path as the lock's header has it; empty where there is no lock."""
        return self.header.manifest

    @property
    def newer(self) -> bool:
        """Whether a newer qrun wrote the lock: it is read as far as it is understood, and never written."""
        return self.header.version > VERSION

    @property
    def lock_file(self) -> str:
        return f"{self.folder}/{LOCK}"

    def record_file(self, key: str, digest: str) -> str:
        """Where the record file of a job and digest stands, be it there or not; relative to the root."""
        return f"{self.folder}/{run_folder(key, digest)}/{RECORD}"

    def output_file(self, record: Record, output: Output) -> str:
        """Where an output stands; small results stand in the record file itself."""
        return f"{self.folder}/{run_folder(record.key, record.digest)}/{output.name}"

    def offer(self, jobs: Iterable[Job]) -> None:
        """Jobs as a manifest renders them now: they stand in for rendered jobs that no file here has any more."""
        self._offered.update({(job.key, job.digest): job for job in jobs})

    def job(self, key: str, digest: str) -> Mapping[str, Any]:
        """The rendered job of a record; what the record itself says of it where the rest is gone."""
        known = self._details.get((key, digest), EMPTY).job
        if known:
            return known
        page = self.page(key, digest)
        if page is not None and page.job:
            return page.job
        if offered := self._offered.get((key, digest)):
            return rendered(offered)
        record = self.records.get(key, digest)
        if record is None:
            return NOTHING
        whole = {"provider": record.provider, "site": record.site, "device": record.device, "tags": list(record.tags)}
        return {name: value for name, value in whole.items() if value}

    def programs(self, key: str, digest: str) -> Mapping[str, bytes]:
        """The programs of a job as they were sent, by their SHA-256; without those that are not here or damaged."""
        found = {}
        for named in self.job(key, digest).get("program", ()):
            program = Program(path=named["path"], sha256=named["sha256"], size=named["size"])
            data = self._content(f"{self.folder}/{program_file(program.sha256, program.suffix)}")
            if data is not None and sha256(data).hexdigest() == program.sha256:
                found[program.sha256] = data
        return found

    def results(self, key: str, digest: str) -> Mapping[str, Any] | None:
        """The normal form; None where it is not here. StoreError where the file is damaged."""
        known = self._details.get((key, digest), EMPTY).results
        if known is not None:
            return known
        page = self.page(key, digest)
        if page is not None and page.results is not None:
            return page.results
        record = self.records.get(key, digest)
        listed = next((o for o in (record.outputs if record else None) or () if o.name == RESULTS), None)
        return None if record is None or listed is None else self._large(record, listed)

    def page(self, key: str, digest: str) -> Page | None:
        """The record file; None where there is none. StoreError where it is damaged or another job's."""
        path = self.record_file(key, digest)
        try:
            found = pages.read(path, self.disk.read(path, pages.LARGEST))
        except FileNotFoundError:
            return None
        if found.record.digest != digest:
            words = f"is the record of another digest, {found.record.digest}"
            raise StoreError(Problem(file=path, message=words, hint="move it away"))
        return found

    def missing(self, record: Record) -> bool:
        """Whether outputs that were or should be fetched are not here. A file that Git LFS has not pulled is here."""
        if record.outputs is None:
            return record.phase is Phase.SUCCEEDED
        return any(not self._present(record, output) for output in record.outputs)

    # --- loading ------------------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read everything; the journal before the lock, so that a writer who publishes in between hides nothing."""
        facts = self._journal()
        self._load_lock()
        self._replay(facts)

    def _journal(self) -> Sequence[tuple[int, Fact]]:
        disk, path = self.journal_file
        for left in reversed(range(TRIES)):
            scan = journals.look(disk, path, self.header.project, self.experiment)
            self.ran_here = scan is not None and scan.vouches(self.header.project)
            if scan is None or not scan.problems:
                return () if scan is None else scan.facts
            if not left:
                raise StoreError(*scan.problems)
        return ()

    def _load_lock(self) -> None:
        lock = self._read_lock()
        if lock is not None:
            self._adopt(lock)
        if self._seal is None or self.index.memo("lock") != list(self._seal):
            self._witnesses()

    def _read_lock(self) -> locks.Lock | None:
        """The lock as it is now, and its signature in `_seal`; None where there is none."""
        found = self.disk.lstat(self.lock_file)
        self._seal = None
        if found is None:
            return None
        lock = locks.parse(self.lock_file, self.disk.read(self.lock_file))
        if lock.problems and not (lock.header is not None and lock.header.version > VERSION):
            raise StoreError(*lock.problems)
        self._seal = found.seal
        return lock

    def _adopt(self, lock: locks.Lock) -> None:
        assert lock.header is not None
        self._check(lock.header)
        self.header = replace(lock.header, project=lock.header.project or self.header.project)
        self.records.project = self.header.project
        self._texts = lock.texts
        for record in lock.records.values():
            self.records.put(record)
        self._keep_extras(lock)

    def _keep_extras(self, lock: locks.Lock) -> None:
        for name, line in lock.extras.items():
            if line.job and name not in self._details:
                self._details[name] = Details(job=line.job, origin=line.origin)
            if line.rest:
                self._rest[name] = line.rest

    def _check(self, header: Header) -> None:
        """StoreError where the lock is another experiment's or another project's."""
        ours = self.header.project
        if header.experiment != self.experiment:
            words = f'belongs to the experiment "{header.experiment}", not to "{self.experiment}"'
            hint = f"rename the folder to {experiment_folder(header.experiment)}"
        elif ours is not None and header.project is not None and header.project != ours:
            words = f'belongs to the project "{header.project}", not to "{ours}"'
            hint = "set project in qrun.toml back, or keep these results elsewhere"
        else:
            return
        raise StoreError(Problem(file=self.lock_file, line=1, message=words, hint=hint))

    def _witnesses(self) -> None:
        """Take in what record files know beyond the lock: after a pull, a checkout or a repair by hand."""
        for path, found in self._unvouched():
            record = found.record
            known = self.records.get(record.key, record.digest)
            try:
                self.records.put(record if known is None else union(record, known))
            except StoreError as error:
                raise _placed(error, path) from error

    def _unvouched(self) -> Iterator[tuple[str, Page]]:
        """Record files of jobs that the lock does not have as succeeded with their outputs."""
        vouched = {
            run_folder(record.key, record.digest)
            for record in self.records
            if record.phase is Phase.SUCCEEDED and record.outputs is not None
        }
        for job, is_folder in sorted(self.disk.list(self.folder).items()):
            if not is_folder or job in OURS or job == PRIVATE:
                continue
            for run in sorted(self.disk.list(f"{self.folder}/{job}")):
                path = f"{self.folder}/{job}/{run}/{RECORD}"
                if f"{job}/{run}" in vouched or (data := self._content(path)) is None:
                    continue
                found = pages.read(path, data)
                if job_folder(found.record.key) == job and found.record.digest[:12] == run:
                    yield path, found

    def _content(self, path: str) -> bytes | None:
        try:
            return self.disk.read(path, pages.LARGEST)
        except FileNotFoundError:
            return None

    def _replay(self, facts: Sequence[tuple[int, Fact]]) -> None:
        path = self.journal_file[1]
        for line, fact in facts:
            try:
                fold(self.records, fact)
            except StoreError as error:
                raise _placed(error, path, line) from error
            remember(self._details, fact)
            self._replayed(fact)

    def _replayed(self, fact: Fact) -> None:
        """What a writer does besides; a reader does nothing."""

    # --- files --------------------------------------------------------------------------------------------------------

    def _present(self, record: Record, output: Output) -> bool:
        if output.name == RESULTS and output.size <= INLINE:
            if self.disk.lstat(self.record_file(record.key, record.digest)) is not None:
                return True
            return self._details.get((record.key, record.digest), EMPTY).results is not None
        found = self.disk.lstat(self.output_file(record, output))
        if found is None or not found.regular:
            return False
        return found.size == output.size or self._pointer(record, output)

    def _pointer(self, record: Record, output: Output) -> bool:
        return self.disk.read(self.output_file(record, output)).startswith(POINTER)

    def _large(self, record: Record, output: Output) -> Mapping[str, Any] | None:
        path = self.output_file(record, output)
        try:
            data = self.disk.read(path)
        except FileNotFoundError:
            return None
        if data.startswith(POINTER):
            raise StoreError(Problem(file=path, message="is a Git LFS pointer: not pulled", hint="git lfs pull"))
        if sha256(data).hexdigest() != output.sha256:
            words = "is not what was fetched: its hash differs from the lock's"
            raise StoreError(Problem(file=path, message=words, hint="git checkout brings back what was committed"))
        whole: Mapping[str, Any] = json.loads(data)
        return whole


def _placed(error: StoreError, file: str, line: int | None = None) -> StoreError:
    return StoreError(*[replace(problem, file=file, line=line) for problem in error.problems])
