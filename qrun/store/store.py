"""The results directory of one experiment: all that qrun keeps, and the only place that writes project files.

A fact is durable in the journal before anybody acts on it. The record files and the lock are written from the facts,
in this order, and only then is the journal emptied; so a cut at any moment leaves one of them that knows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial, update_wrapper
from hashlib import sha256
from tempfile import gettempdir
from types import TracebackType
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

from qrun.canonical import canonical
from qrun.clock import Clock
from qrun.errors import Problem, StoreError
from qrun.fact import WORD_OF, Fact, Fetched, Intended, Labelled, Noted, Reached, Renamed, Taken, fold
from qrun.failpoint import failpoint
from qrun.job import Program
from qrun.record import Download, Output, Record, union
from qrun.store import lock as locks
from qrun.store import records as pages
from qrun.store.disk import Disk
from qrun.store.files import Files
from qrun.store.index import Index
from qrun.store.journal import Journal
from qrun.store.lines import POINTER, VERSION, encoded, told
from qrun.store.lock import Line, Name
from qrun.store.mutex import Mutex
from qrun.store.paths import PRIVATE, experiment_folder, output_file, program_file, run_folder, snapshot_file
from qrun.store.records import Details, Page
from qrun.store.view import RESULTS, View

PACE: Final = 2.0  # seconds at least between two publications of a running command
SHARE: Final = 20  # and so many times what the last one took


Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _whole(method: Callable[Concatenate[Store, Arguments], Answer]) -> Callable[Concatenate[Store, Arguments], Answer]:
    """Turns what happens when somebody removes the directory under a running command into an error of ours."""

    def wrapped(self: Store, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Answer:
        try:
            return method(self, *arguments, **named)
        except OSError as error:
            words = f"changed while this run was using it: {error.strerror or error}".lower()
            raise StoreError(Problem(file=self.folder, message=words, hint="run again")) from error

    update_wrapper(wrapped, method)
    return wrapped


class Store(View):
    """The only writer of one experiment, from `open` to `close`. Each method returns once its effect is durable."""

    def __init__(
        self,
        disk: Disk,
        experiment: str,
        *,
        project: str | None,
        manifest: str,
        clock: Clock,
        command: str,
        run: str,
        journal: tuple[Disk, str] | None,
    ) -> None:
        super().__init__(disk, experiment, project=project, journal=journal)
        self.header = replace(self.header, manifest=manifest)
        self.files = Files(disk, self.folder)
        self.clock = clock
        self.run = run
        self.told: list[str] = []
        self._command = command
        self._manifest = manifest
        self._lines: dict[Name, None] = {}  # lock lines that may have changed
        self._pages: dict[Name, None] = {}  # record files that may have changed
        self._mutexes: list[Mutex] = []
        self._header_text: bytes | None = None  # as in the lock on disk
        disk_of_journal, path = self.journal_file
        self._journal_writer = Journal(
            disk=disk_of_journal, path=path, project=project, experiment=experiment, run=run, command=command
        )
        self._not_before = clock.monotonic() + PACE

    @classmethod
    def open(
        cls,
        root: str,
        experiment: str,
        *,
        project: str | None,
        manifest: str,
        disk: Disk | None = None,
        command: str = "",
        run: str = "",
        journal: str | None = None,
        clock: Clock | None = None,
        mend: Callable[[Store], None] | None = None,
    ) -> Store:
        """Take the mutex and recover; StoreError where the directory is in use, damaged, newer or another project's.

        `root` is the project's folder. `manifest` is its path relative to the root; empty keeps what the lock says.
        `journal` is a folder outside of the project for journals, for directories on slow or shared disks. `mend` is
        called once the mutex is held and before anything is read.
        """
        disk = disk or Disk(root)
        place = outside(disk, journal, root, project, experiment) if journal else None
        store = cls(
            disk,
            experiment,
            project=project,
            manifest=manifest,
            clock=clock or Clock(),
            command=command,
            run=run,
            journal=place,
        )
        try:
            store._take()
            if mend is not None:
                mend(store)
            store._recover()
        except BaseException:
            store.close()
            raise
        return store

    @staticmethod
    def read(
        root: str,
        experiment: str,
        *,
        project: str | None = None,
        disk: Disk | None = None,
        journal: str | None = None,
    ) -> View:
        """What is there now, without the mutex and without writing; a run may be going on."""
        disk = disk or Disk(root)
        place = outside(disk, journal, root, project, experiment) if journal and os.path.isdir(journal) else None
        view = View(disk, experiment, project=project, journal=place)
        view.load()
        return view

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others in. What was noted is durable; it is published by whoever opens next."""
        for mutex in self._mutexes:
            mutex.release()
        self._mutexes.clear()
        self.disk.unpin(self.folder)

    def vouch(self, whole: bool | None) -> None:
        """Whether the journal is to tell later runs that nothing was sent from elsewhere; None where none will ask."""
        self._journal_writer.whole = whole

    # --- facts --------------------------------------------------------------------------------------------------------

    @_whole
    def note(self, *facts: Fact) -> None:
        """Durable and folded when it returns. When it raises, neither: the records are as they were."""
        if not facts:
            return
        facts = tuple(self._first_stands(fact) if isinstance(fact, Fetched) else fact for fact in facts)
        before: dict[Name, Record | None] = {}
        try:
            for fact in facts:
                for name in self._touched(fact):
                    before.setdefault(name, self.records.get(*name))
                fold(self.records, fact)
            self.files.settle()
            self._journal_writer.append(facts, self.clock.now())
        except BaseException:
            self._restore(before)
            raise
        self._lines.update(dict.fromkeys(before))
        self._pages.update(dict.fromkeys(before))
        for fact in facts:
            pages.remember(self._details, fact)
            if isinstance(fact, Renamed):
                self._move(fact)

    @_whole
    def keep_program(self, program: Program, data: bytes) -> None:
        """Keep the bytes that will be sent, once; durable before the next fact that is noted."""
        self.files.keep(f"{self.folder}/{program_file(program.sha256, program.suffix)}", data)

    @_whole
    def keep_snapshot(self, data: bytes) -> str:
        """Keep what a provider says of a device, each content once, and give its SHA-256; durable as a program is."""
        sha = sha256(data).hexdigest()
        self.files.keep(f"{self.folder}/{snapshot_file(sha)}", data)
        return sha

    @_whole
    def keep_outputs(self, downloads: Sequence[Download]) -> list[Output]:
        """Keep what was downloaded, durable and read-only. What an earlier fetch brought is never replaced: other bytes
        are kept beside it, and `told` says so.
        """
        new: list[tuple[str, bytes]] = []
        outputs = [self._kept(download, new) for download in downloads]
        self.files.replace_all(new)
        return outputs

    def keep_output(self, key: str, digest: str, attempt: int, name: str, data: bytes) -> Output:
        """The same for one."""
        return self.keep_outputs([Download(key=key, digest=digest, attempt=attempt, name=name, data=data)])[0]

    def rescue(self, facts: Sequence[Fact], directory: str | None = None) -> str:
        """Write facts that the journal would not take where there is room, and say where.

        Tries `directory`, the project's root, and the system's folder for temporary files.
        """
        whole = {
            "version": VERSION,
            "type": "errored",
            "project": self.header.project,
            "experiment": self.experiment,
            "facts": [json.loads(encoded({"ev": WORD_OF[type(fact)], **told(fact)})) for fact in facts],
        }
        data = json.dumps(whole, indent=2).encode() + b"\n"
        for folder in (directory, self.disk.root, gettempdir()):
            if folder is not None and (written := self._rescued(folder, data)):
                return written
        handles = [str(fact.handle) for fact in facts if isinstance(fact, Reached) and fact.handle]
        raise StoreError(
            f"these jobs run at the provider and could be written down nowhere: {', '.join(handles)}",
            hint="note them, free some space, then qrun resolve JOB --adopt ID",
        )

    def rewrite(self) -> None:
        """Let the next publication look at every record, also where nothing is new."""
        names = {(record.key, record.digest): None for record in self.records}
        self._lines.update(names)
        self._pages.update(names)

    def drop(self, names: Sequence[Name]) -> None:
        """Forget records, durably; the journal must be empty. Their folders are the caller's to delete."""
        for name in names:
            self.records.drop(*name)
            self._lines[name] = None
        self.publish(rest=True)

    # --- publishing ---------------------------------------------------------------------------------------------------

    @_whole
    def publish(self, *, rest: bool, now: bool = False) -> None:
        """Bring the record files and the lock up to the facts. A running command does so at its pace, or `now`; with
        `rest` all is written and the journal emptied. Where nothing is new, no byte changes.
        """
        if not rest and (not self._lines or (not now and self.clock.monotonic() < self._not_before)):
            return
        start = self.clock.monotonic()
        self._take_in()
        self._write_pages()
        failpoint("paged")
        self._write_lock()
        failpoint("locked")
        if rest:
            self.files.settle()
            self._journal_writer.clear()
            self.index.set_memo("lock", None if self._seal is None else list(self._seal))
            self.index.save()
        end = self.clock.monotonic()
        self._not_before = end + max(PACE, SHARE * (end - start))

    # --- opening ------------------------------------------------------------------------------------------------------

    def _take(self) -> None:
        self.files.make_folders()
        now = self.clock.now()
        place = f"{self.folder}/{PRIVATE}/mutex"
        taken = partial(Mutex, run=self.run, command=self._command, now=now)
        self._mutexes.append(taken(self.disk, place, place=self.folder))
        disk, path = self.journal_file
        if disk is not self.disk:
            self._mutexes.append(taken(disk, f"{path}.mutex", place=f"{disk.root}/{path}"))
        self.files.sweep()

    def _recover(self) -> None:
        self.index = Index.load(self.disk, self.experiment)
        facts = self._journal_writer.recover()
        self.ran_here = self._journal_writer.here
        self._load_lock()
        if self.newer:
            words = f"was written by a newer qrun (version {self.header.version})"
            raise StoreError(Problem(file=self.lock_file, line=1, message=words, hint="update qrun"))
        self._replay(facts)

    def _adopt(self, lock: locks.Lock) -> None:
        super()._adopt(lock)
        assert lock.header is not None
        self._header_text = locks.header_text(lock.header)
        self.header = replace(self.header, manifest=self._manifest or lock.header.manifest)
        self._journal_writer.project = self.header.project

    def _witnesses(self) -> None:
        before = {(record.key, record.digest): record for record in self.records}
        super()._witnesses()
        changed = [name for r in self.records if before.get(name := (r.key, r.digest)) != r]
        self._lines.update(dict.fromkeys(changed))

    def _replayed(self, fact: Fact) -> None:
        names = dict.fromkeys(self._touched(fact))
        self._lines.update(names)
        self._pages.update(names)
        if isinstance(fact, Renamed):
            self._move(fact)

    # --- facts and their names ----------------------------------------------------------------------------------------

    def _touched(self, fact: Fact) -> Iterator[Name]:
        match fact:
            case Intended():
                for member in fact.members:
                    yield (member.key, member.digest)
            case Noted():
                for record in self.records.sharing(fact.marker):
                    yield (record.key, record.digest)
            case Renamed():
                yield (fact.old, fact.digest)
                yield (fact.key, fact.digest)
            case Reached() | Fetched() | Labelled() | Taken():
                yield (fact.key, fact.digest)

    def _restore(self, before: Mapping[Name, Record | None]) -> None:
        for name, record in before.items():
            if record is None:
                self.records.drop(*name)
            else:
                self.records.put(record)

    def _first_stands(self, fact: Fetched) -> Fetched:
        """The fact as it may be noted: outputs that were fetched before stay, other results are kept beside them."""
        name = (fact.key, fact.digest)
        known = self._details.get(name)
        diverged = (*fact.diverged, *(known.diverged if known is not None else ()))
        record = self.records.get(*name)
        if record is None or record.outputs is None:
            return replace(fact, diverged=diverged) if diverged != fact.diverged else fact
        first = {output.name: output for output in record.outputs}
        stands = tuple(first.get(output.name, output) for output in fact.outputs)
        mine = first.get(RESULTS)
        theirs = next((output for output in fact.outputs if output.name == RESULTS), None)
        if fact.results is not None and mine is not None and theirs is not None and mine.sha256 != theirs.sha256:
            diverged = (*diverged, self._diverged(*name, RESULTS, canonical(fact.results)))
            return replace(fact, outputs=stands, results=None, diverged=diverged)
        return replace(fact, outputs=stands, diverged=diverged)

    # --- outputs ------------------------------------------------------------------------------------------------------

    def _kept(self, download: Download, new: list[tuple[str, bytes]]) -> Output:
        """What stands in the records for a download; its bytes go to `new` where they are not here already."""
        key, digest, data = download.key, download.digest, download.data
        file = output_file(download.attempt, download.name)
        output = Output(name=file, sha256=sha256(data).hexdigest(), size=len(data))
        first = self._first(key, digest, file)
        if first is not None and first.sha256 != output.sha256:
            self._diverged(key, digest, file, data)
            return first
        path = f"{self.folder}/{run_folder(key, digest)}/{file}"
        here = None if first is None else self.files.content(path)
        if here is not None and here != data and not here.startswith(POINTER):
            self.files.set_aside(path)
        if here is None or self.disk.lstat(path) is None:
            new.append((path, data))
        return output

    def _first(self, key: str, digest: str, file: str) -> Output | None:
        """What an earlier fetch brought under this name."""
        record = self.records.get(key, digest)
        for output in (record.outputs if record is not None else None) or ():
            if output.name == file:
                return output
        path = f"{self.folder}/{run_folder(key, digest)}/{file}"
        if self.disk.lstat(path) is None:  # as a rule, and it opens no folder
            return None
        data = self.disk.read(path)
        return Output(name=file, sha256=sha256(data).hexdigest(), size=len(data))

    def _diverged(self, key: str, digest: str, file: str, data: bytes) -> str:
        """Keep other bytes beside the first ones; the same bytes once."""
        folder = f"{self.folder}/{run_folder(key, digest)}"
        number = 1
        while (kept := self.files.content(f"{folder}/{file}.diverged-{number}")) is not None and kept != data:
            number += 1
        name = f"{file}.diverged-{number}"
        if kept is None:
            self.files.replace(f"{folder}/{name}", data)
        known = self._details.setdefault((key, digest), Details())
        known.diverged = tuple(dict.fromkeys((*known.diverged, name)))
        self.told.append(f'a second fetch of "{key}" brought other bytes for {file}: kept beside as {folder}/{name}')
        return name

    def _move(self, fact: Renamed) -> None:
        old, new = run_folder(fact.old, fact.digest), run_folder(fact.key, fact.digest)
        self.files.move_folder(f"{self.folder}/{old}", f"{self.folder}/{new}")

    def _rescued(self, folder: str, data: bytes) -> str | None:
        name = f"qrun-errored-{self.run or os.getpid()}"
        try:
            disk = self.disk if folder == self.disk.root else self.disk.at(folder)
            for number in range(1, 100):
                path = f"{name}.json" if number == 1 else f"{name}-{number}.json"
                with suppress(FileExistsError):
                    disk.create(path, data, 0o600)
                    disk.fsync(path)
                    return f"{folder}/{path}"
        except (StoreError, OSError):
            return None
        return None

    # --- writing ------------------------------------------------------------------------------------------------------

    def _take_in(self) -> None:
        """A pull, merge or checkout changed the lock since it was last read or written: take in what it says now."""
        found = self.disk.lstat(self.lock_file)
        if (None if found is None else found.seal) == self._seal:
            return
        base = self._texts
        lock = self._read_lock() or locks.Lock()
        if lock.header is not None:
            self._check(lock.header)
            if lock.header.version > VERSION:
                words = f"was written by a newer qrun (version {lock.header.version})"
                raise StoreError(Problem(file=self.lock_file, line=1, message=words, hint="update qrun"))
        for name, text in lock.texts.items():
            if text != base.get(name):
                self._take_line(name, lock)
        self._keep_extras(lock)
        self._texts = lock.texts
        self._header_text = None if lock.header is None else locks.header_text(lock.header)
        self._lines.update({(r.key, r.digest): None for r in self.records if (r.key, r.digest) not in lock.texts})

    def _take_line(self, name: Name, lock: locks.Lock) -> None:
        ours, theirs = self.records.get(*name), lock.records[name]
        try:
            merged = theirs if ours is None else union(theirs, ours)
        except StoreError as error:
            problems = [replace(p, file=self.lock_file, line=lock.places[name]) for p in error.problems]
            raise StoreError(*problems) from error
        self.records.put(merged)
        self._lines[name] = None

    def _write_pages(self) -> None:
        new = [(self.record_file(*name), data) for name in self._pages if (data := self._page_bytes(name)) is not None]
        self.files.replace_all(new)
        for name in self._pages:
            record = self.records.get(*name)
            if record is None or record.phase.final:  # what runs is asked for once more, when it has ended
                self._details.pop(name, None)
        self._pages.clear()

    def _page_bytes(self, name: Name) -> bytes | None:
        """What the record file should hold; None where it does already, or where there is nothing to hold yet."""
        record = self.records.get(*name)
        if record is None or not pages.settled(record):
            return None
        path = self.record_file(*name)
        before = self.files.content(path)
        older = None if before is None else self._older(path, before, name)
        try:
            data = pages.text(self._page(record, older), self.header.project, self.experiment)
        except StoreError as error:
            raise StoreError(*[replace(problem, file=path) for problem in error.problems]) from error
        return None if data == before else data

    def _older(self, path: str, data: bytes, name: Name) -> Page:
        older = pages.read(path, data)
        if older.record.digest != name[1]:
            words = f"is the record of another digest, {older.record.digest}"
            raise StoreError(Problem(file=path, message=words, hint="move it away"))
        return older

    def _page(self, record: Record, older: Page | None) -> Page:
        known = self._details.get((record.key, record.digest)) or Details()
        return pages.page(record, known, older)

    def _write_lock(self) -> None:
        texts = dict(self._texts)
        for name in self._lines:
            text = self._line_text(name)
            if text is None:
                texts.pop(name, None)
            else:
                texts[name] = text
        header = locks.header_text(self.header)
        same = header == self._header_text and texts == self._texts
        if not same and (texts or self._header_text is not None):
            self.files.replace(self.lock_file, locks.document(header, texts), 0o644)
            found = self.disk.lstat(self.lock_file)
            self._seal = None if found is None else found.seal
            self._header_text = header
        self._texts = texts
        self._lines.clear()

    def _line_text(self, name: Name) -> bytes | None:
        record = self.records.get(*name)
        if record is None:
            return None
        known = self._details.get(name) or Details()
        rest = self._rest.get(name, {})
        return locks.line_text(Line(record=record, job=known.job, origin=known.origin, rest=rest))


def outside(disk: Disk, journal: str, root: str, project: str | None, experiment: str) -> tuple[Disk, str]:
    """The journal's place in a folder that serves many projects."""
    experiment_folder(experiment)
    whose = sha256(f"{project or os.path.abspath(root)}\n{experiment}".encode()).hexdigest()[:8]
    return disk.at(journal), f"{experiment}-{whose}.jsonl"
