"""Look whether a results directory is what qrun wrote, offline, and rebuild what the other files still know.

`verify` reads everything and changes nothing. `repair` puts damaged files aside, never deletes one, and writes the
lock, the record files and the journal anew from what is intact.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType

from qrun.canonical import canonical
from qrun.errors import Problem, StoreError
from qrun.fact import WORD_OF, Fact, Reached, Renamed, fold
from qrun.record import Output, Record, Records, union
from qrun.store import Store, outside
from qrun.store import journal as journals
from qrun.store import lock as locks
from qrun.store import records as pages
from qrun.store.disk import Disk
from qrun.store.journal import header_line
from qrun.store.lines import POINTER, REPAIR, encoded, seal, split, told
from qrun.store.lock import Header, Lock, Name
from qrun.store.paths import LOCK, OURS, PRIVATE, PROGRAMS, RECORD, SNAPSHOTS, experiment_folder, run_folder
from qrun.store.records import Page
from qrun.store.view import RESULTS

FETCH = "qrun apply fetches it again"


@dataclass(kw_only=True, slots=True)
class Findings:
    """`problems` is damage; `notes` is what is not here and can be had again. `files` counts what was read."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    files: int = 0


@dataclass(kw_only=True, slots=True)
class Repairs:
    """What was done, a sentence each, and what nobody could restore."""

    done: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def verify(
    root: str, experiment: str, *, project: str | None = None, disk: Disk | None = None, journal: str | None = None
) -> Findings:
    """Hash and compare everything that stands here. Damage is listed, never raised; `journal` as in `Store.open`."""
    disk = disk or Disk(root)
    findings = Findings()
    lock = _lock(disk, experiment, project, findings)
    renamed = _journal(disk, experiment, project, journal, root, findings)
    found = _pages(disk, experiment, findings, renamed)
    _outputs(disk, experiment, lock, found, findings)
    _programs(disk, experiment, found, findings)
    findings.problems.sort(key=lambda problem: problem.position)
    findings.notes.sort(key=lambda problem: problem.position)
    return findings


def repair(
    root: str,
    experiment: str,
    *,
    project: str | None,
    manifest: str = "",
    disk: Disk | None = None,
    journal: str | None = None,
    command: str = "",
    run: str = "",
) -> Repairs:
    """Rebuild under the mutex; what `verify` finds afterwards could not be restored from what is here."""
    repairs = Repairs()

    def mend(store: Store) -> None:
        _mend(store, repairs)

    with Store.open(
        root,
        experiment,
        project=project,
        manifest=manifest,
        disk=disk,
        command=command,
        run=run,
        journal=journal,
        mend=mend,
    ) as store:
        store.rewrite()
        store.publish(rest=True)
    return repairs


# --- looking ----------------------------------------------------------------------------------------------------------


def _lock(disk: Disk, experiment: str, project: str | None, findings: Findings) -> Lock:
    path = f"{experiment_folder(experiment)}/{LOCK}"
    data = _read(disk, path, findings)
    if data is None:
        return Lock()
    try:
        lock = locks.parse(path, data)
    except StoreError as error:
        findings.problems += error.problems
        return locks.parse(path, data, merged=True) if b"<<<<<<<" in data else Lock()
    findings.problems += lock.problems
    header = lock.header
    if header is not None and header.experiment != experiment:
        words = f'belongs to the experiment "{header.experiment}", not to "{experiment}"'
        findings.problems.append(Problem(file=path, line=1, message=words, hint="rename the folder"))
    if header is not None and project is not None and header.project not in (None, project):
        words = f'belongs to the project "{header.project}", not to "{project}"'
        findings.problems.append(Problem(file=path, line=1, message=words, hint="set project in qrun.toml back"))
    return lock


def _pages(
    disk: Disk, experiment: str, findings: Findings, renamed: Mapping[Name, str] = MappingProxyType({})
) -> dict[Name, Page]:
    found: dict[Name, Page] = {}
    for path in record_files(disk, experiment):
        data = _read(disk, path, findings)
        if data is None:
            continue
        if data.startswith(POINTER):
            findings.notes.append(_unpulled(path))
            continue
        try:
            page = pages.read(path, data)
        except StoreError as error:
            findings.problems += error.problems
            continue
        new = renamed.get((page.record.key, page.record.digest))
        if new is not None and _in_place(path, replace(page.record, key=new)):
            words = f'is still the record of "{page.record.key}", which was being renamed'
            findings.notes.append(Problem(file=path, message=words, hint="qrun apply finishes it"))
            continue
        if not _in_place(path, page.record):
            words = (
                f'is the record of "{page.record.key}" with digest {page.record.digest[:12]}, which belongs elsewhere'
            )
            findings.problems.append(Problem(file=path, message=words, hint="move it back"))
            continue
        found[page.record.key, page.record.digest] = page
    return found


def record_files(disk: Disk, experiment: str) -> Iterator[str]:
    """Every record file that is here, in the order of their paths."""
    folder = experiment_folder(experiment)
    for job, is_folder in sorted(disk.list(folder).items()):
        if is_folder and job not in OURS and job != PRIVATE:
            for run in sorted(disk.list(f"{folder}/{job}")):
                if disk.lstat(path := f"{folder}/{job}/{run}/{RECORD}") is not None:
                    yield path


def _in_place(path: str, record: Record) -> bool:
    return path.endswith(f"/{run_folder(record.key, record.digest)}/{RECORD}")


def _outputs(disk: Disk, experiment: str, lock: Lock, found: dict[Name, Page], findings: Findings) -> None:
    for name in sorted(lock.records.keys() | found.keys()):
        line, page = lock.records.get(name), found.get(name)
        record = line or (page.record if page is not None else None)
        assert record is not None
        if line is not None and page is not None:
            _agree(experiment, line, page.record, findings)
        if line is None and page is not None and lock.header is not None:
            path = f"{experiment_folder(experiment)}/{LOCK}"
            words = f'has no line for "{name[0]}" with digest {name[1][:12]}, of which a record file is here'
            findings.notes.append(Problem(file=path, message=words, hint="qrun apply adds it"))
        for output in record.outputs or ():
            _output(disk, experiment, record, output, page, findings)


def _agree(experiment: str, line: Record, record: Record, findings: Findings) -> None:
    path = f"{experiment_folder(experiment)}/{run_folder(record.key, record.digest)}/{RECORD}"
    try:
        union(record, line)
    except StoreError as error:
        findings.problems += [replace(problem, file=path) for problem in error.problems]
    listed = {output.name: output.sha256 for output in line.outputs or ()}
    for output in record.outputs or ():
        if listed.get(output.name, output.sha256) != output.sha256:
            words = f'gives "{output.name}" another hash than the lock'
            findings.problems.append(Problem(file=path, message=words, hint=REPAIR))


def _output(disk: Disk, experiment: str, record: Record, output: Output, page: Page | None, findings: Findings) -> None:
    folder = f"{experiment_folder(experiment)}/{run_folder(record.key, record.digest)}"
    path = f"{folder}/{output.name}"
    data = _read(disk, path, findings)
    if data is None and output.name == RESULTS and page is not None and page.results is not None:
        path, data = f"{folder}/{RECORD}", canonical(page.results)
    if data is None:
        findings.notes.append(Problem(file=path, message="is not here", hint=FETCH))
    elif data.startswith(POINTER):
        findings.notes.append(_unpulled(path))
    elif sha256(data).hexdigest() != output.sha256:
        words = f'is not what was fetched as "{output.name}": its hash differs'
        findings.problems.append(Problem(file=path, message=words, hint="git checkout brings back what was committed"))


def _programs(disk: Disk, experiment: str, found: dict[Name, Page], findings: Findings) -> None:
    folder = f"{experiment_folder(experiment)}/{PROGRAMS}"
    kept = {name.partition(".")[0] for name in _named_by_hash(disk, folder, "the program that was sent", findings)}
    lost = {str(p.get("sha256", ""))[:12] for page in found.values() for p in page.job.get("program", ())} - kept
    for name in sorted(lost):
        findings.notes.append(Problem(file=f"{folder}/{name}.*", message="is not here", hint="git checkout brings it"))
    folder = f"{experiment_folder(experiment)}/{SNAPSHOTS}"
    _named_by_hash(disk, folder, "what the provider said of the device", findings)


def _named_by_hash(disk: Disk, folder: str, what: str, findings: Findings) -> list[str]:
    """The files of a folder whose names begin with the hash of their content; what differs is found."""
    here = sorted(disk.list(folder))
    for name in here:
        if ".damaged-" in name:
            continue
        data = _read(disk, f"{folder}/{name}", findings)
        if data is None or data.startswith(POINTER):
            findings.notes.append(_unpulled(f"{folder}/{name}"))
        elif not sha256(data).hexdigest().startswith(name.partition(".")[0]):
            words = f"is not {what}: its hash differs from its name"
            hint = "git checkout brings back what was committed"
            findings.problems.append(Problem(file=f"{folder}/{name}", message=words, hint=hint))
    return here


def _journal(
    disk: Disk, experiment: str, project: str | None, journal: str | None, root: str, findings: Findings
) -> Mapping[Name, str]:
    """What was being renamed, and to which key, when the last run ended."""
    where, path = journal_place(disk, experiment, project, journal, root)
    try:
        scan = journals.look(where, path, project, experiment)
    except StoreError as error:
        findings.problems += error.problems
        return {}
    if scan is None:
        return {}
    findings.files += 1
    findings.problems += scan.problems
    return {(fact.old, fact.digest): fact.key for _, fact in scan.facts if isinstance(fact, Renamed)}


def journal_place(disk: Disk, experiment: str, project: str | None, journal: str | None, root: str) -> tuple[Disk, str]:
    if journal is not None:
        return outside(disk, journal, root, project, experiment)
    return disk, f"{experiment_folder(experiment)}/{PRIVATE}/journal.jsonl"


def _read(disk: Disk, path: str, findings: Findings) -> bytes | None:
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return None
    except StoreError as error:
        findings.problems += error.problems
        return None
    findings.files += 1
    return data


def _unpulled(path: str) -> Problem:
    return Problem(file=path, message="is not pulled from Git LFS", hint="git lfs pull")


# --- mending ----------------------------------------------------------------------------------------------------------


def _mend(store: Store, repairs: Repairs) -> None:
    """Leave files that all read, so that opening goes on as if nothing had been."""
    known = Records(project=store.header.project, experiment=store.experiment)
    found = _mend_pages(store, repairs)
    _mend_lock(store, found, known, repairs)
    for page in found:
        _add(known, page.record, store.record_file(page.record.key, page.record.digest), repairs)
    _mend_journal(store, known, repairs)
    _mend_files(store, repairs)


def _mend_pages(store: Store, repairs: Repairs) -> list[Page]:
    found = []
    for path in list(record_files(store.disk, store.experiment)):
        data = store.disk.read(path)
        if data.startswith(POINTER):
            continue
        try:
            page = pages.read(path, data)
        except StoreError:
            repairs.done.append(f"{path} is damaged and now called {store.files.set_aside(path)}")
            continue
        if _in_place(path, page.record):
            found.append(page)
    return found


def _mend_lock(store: Store, found: Sequence[Page], known: Records, repairs: Repairs) -> None:
    path = store.lock_file
    try:
        data = store.disk.read(path)
    except FileNotFoundError:
        return
    whole = _parsed(path, data)
    lock = locks.parse(path, data, merged=True) if whole is None else whole
    for record in lock.records.values():
        _add(known, record, path, repairs)
    if whole is not None and not whole.problems:
        return
    witnessed = {(page.record.key, page.record.digest) for page in found}
    lines = split(data)
    texts = dict(lock.texts)
    for problem in lock.problems:
        _salvage(path, problem, lines, witnessed, known, texts, repairs)
    header = lock.header or Header(
        project=store.header.project, experiment=store.experiment, manifest=store.header.manifest
    )
    repairs.done.append(f"{path} is damaged: it is written anew, and what it was is now {store.files.set_aside(path)}")
    store.files.replace(path, locks.document(locks.header_text(header), texts), 0o644)


def _parsed(path: str, data: bytes) -> Lock | None:
    """The lock; None where conflict markers stand in it. StoreError where it is not pulled."""
    try:
        return locks.parse(path, data)
    except StoreError:
        if data.lstrip().startswith(POINTER):
            raise
        return None


def _salvage(
    path: str,
    problem: Problem,
    lines: Sequence[bytes],
    witnessed: Iterable[Name],
    known: Records,
    texts: dict[Name, bytes],
    repairs: Repairs,
) -> None:
    """A line that fails its checksum, and that no record file tells, is kept as far as it can be read."""
    text = lines[problem.line - 1] if problem.line and problem.line <= len(lines) else b""
    line = locks.salvage(text)
    name = None if line is None else (line.record.key, line.record.digest)
    if line is None or name is None:
        if problem.line and problem.line > 1:
            words = "the line cannot be read; if no record file tells its job, its handle is in the damaged copy only"
            repairs.problems.append(replace(problem, message=words, hint="compare with git log -p"))
        return
    if name in witnessed or known.get(*name) is not None:
        return
    new = locks.line_text(line)
    if new is not None:
        texts[name] = new
        known.put(line.record)
        words = f'the line of "{name[0]}" fails its checksum and nothing else tells of it: it is kept as it reads'
        repairs.problems.append(Problem(file=path, line=problem.line, message=words, hint="compare with git log -p"))


def _mend_journal(store: Store, known: Records, repairs: Repairs) -> None:
    disk, path = store.journal_file
    try:
        data = disk.read(path)
    except FileNotFoundError:
        return
    scan = journals.scanned(path, data)
    facts = _foldable([fact for _, fact in scan.facts], known, path, repairs)
    if not scan.problems and len(facts) == len(scan.facts):
        return
    aside = _copy_aside(disk, path)
    repairs.done.append(f"{path} is damaged: what reads is kept, and what it was is now {aside}")
    lines = [header_line(store.header.project, store.experiment, partial=True)]
    lines += [_entry(number, fact) for number, fact in enumerate(facts, 1)]
    temporary = f"{path}.new"
    if disk.lstat(temporary) is not None:
        disk.unlink(temporary)
    disk.create(temporary, b"".join(lines), 0o600)
    disk.fsync(temporary)
    disk.rename(temporary, path)
    disk.fsync_dir(path.rpartition("/")[0])


def _entry(number: int, fact: Fact) -> bytes:
    return seal(encoded({"n": number, "ev": WORD_OF[type(fact)], **told(fact)}))


def _copy_aside(disk: Disk, path: str) -> str:
    number = 1
    while disk.lstat(f"{path}.damaged-{number}") is not None:
        number += 1
    disk.create(f"{path}.damaged-{number}", disk.read(path), 0o600)
    disk.fsync(f"{path}.damaged-{number}")
    return f"{path}.damaged-{number}"


def _foldable(facts: Sequence[Fact], known: Records, path: str, repairs: Repairs) -> list[Fact]:
    """The facts that still make sense without those that are gone; the handles of the others are told."""
    good = []
    for fact in facts:
        try:
            fold(known, fact)
        except StoreError as error:
            words = f"an entry no longer fits: {error.problems[0].message}"
            if isinstance(fact, Reached) and fact.handle:
                words = f'"{fact.key}" has the handle "{fact.handle}", but {error.problems[0].message}'
            repairs.problems.append(Problem(file=path, message=words, hint="qrun resolve JOB --adopt ID"))
        else:
            good.append(fact)
    return good


def _mend_files(store: Store, repairs: Repairs) -> None:
    """Outputs and programs that are not what they should be make room, so that they can be fetched or kept again."""
    findings = Findings()
    lock = _lock(store.disk, store.experiment, None, Findings())
    found = _pages(store.disk, store.experiment, Findings())
    _outputs(store.disk, store.experiment, lock, found, findings)
    _programs(store.disk, store.experiment, found, findings)
    for problem in findings.problems:
        path = problem.file or ""
        if "hash differs" in problem.message and not path.endswith(f"/{RECORD}"):
            repairs.done.append(f"{path} is damaged and now called {store.files.set_aside(path)}")
        else:
            repairs.problems.append(problem)


def _add(known: Records, record: Record, path: str, repairs: Repairs) -> None:
    former = known.get(record.key, record.digest)
    try:
        known.put(record if former is None else union(record, former))
    except StoreError as error:
        repairs.problems += [replace(problem, file=path) for problem in error.problems]
