"""Where things lie in a results directory: pure functions of names, never read from a file."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from qrun.errors import StoreError

RESULTS: Final = "results"
LOCK: Final = "qrun.lock"
RECORD: Final = "record.json"
PROGRAMS: Final = "programs"
SNAPSHOTS: Final = "devices"
PRIVATE: Final = ".qrun"
TEMPORARY: Final = "tmp"  # below PRIVATE
IGNORE: Final = ".gitignore"
NOTHING: Final = b"*\n"  # what it holds: Git keeps nothing of its folder
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
LONGEST: Final = 80
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._=,+-]+")
DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")  # names that Windows keeps for itself
DERIVED: Final = frozenset({"results.json"})
OURS: Final = frozenset({PROGRAMS, SNAPSHOTS, "submissions", LOCK})
PLAIN: Final = re.compile(r"[a-z0-9]([a-z0-9._=,+-]{0,78}[a-z0-9_=,+])?")
HASHED: Final = re.compile(r".*-[0-9a-f]{8}")


def experiment_folder(experiment: str) -> str:
    """`results/<experiment>`; raises StoreError for what is not a name."""
    if not SAFE.fullmatch(experiment) or DEVICES.fullmatch(experiment.lower()):
        raise StoreError(f'"{experiment}" is not a name for a folder', hint="give the experiment another name")
    return f"{RESULTS}/{experiment}"


def job_folder(key: str) -> str:
    """A readable slug of the key, and 8 characters of its hash wherever the slug alone could mean another key.

    Upper case counts as changed: two keys that differ only by case stay apart on every file system, whatever comes
    later.
    """
    if PLAIN.fullmatch(key) and key not in OURS and not DEVICES.fullmatch(key) and not HASHED.fullmatch(key):
        return key
    return _hashed(key, "job")


def run_folder(key: str, digest: str) -> str:
    """`<job>/<digest 12>`; raises StoreError for what is not a digest."""
    if not DIGEST.fullmatch(digest):
        raise StoreError(f'"{digest[:80]}" is not a digest')
    return f"{job_folder(key)}/{digest[:12]}"


def program_file(sha: str, suffix: str) -> str:
    return f"{PROGRAMS}/{sha[:12]}.{suffix}"


def snapshot_file(sha: str) -> str:
    """What a provider said of a device when a job was sent; each state of a device once."""
    return f"{SNAPSHOTS}/{sha[:12]}.json"


def output_file(attempt: int, name: str) -> str:
    """The file name of an output: derived ones under their own, downloads as `raw.<attempt>.<name>`."""
    if name in DERIVED:
        return name
    plain = SAFE.fullmatch(name) and len(name) <= LONGEST
    return f"raw.{attempt}.{name if plain else _hashed(name, 'file')}"


def _hashed(name: str, otherwise: str) -> str:
    slug = UNSAFE.sub("-", name)[:LONGEST].strip("-.") or otherwise
    return f"{slug}-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
