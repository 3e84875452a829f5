"""What is wrong with a manifest: each message whole, at its place, and nothing worse than a message."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.manifests import complaints, read, write

CASES = Path(__file__).parent / "golden" / "manifest"
COMMON = "provider: local, device: ddsim, program: p.qasm, shots: 10"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.txt")))
def test_each_case_is_told_as_recorded(name: str) -> None:
    os.chdir(CASES)

    found = complaints(CASES, f"{name}.yaml")

    assert "\n".join(found).replace(f"{name}.yaml", "m.yaml") + "\n" == (CASES / f"{name}.txt").read_text()


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    assert complaints(tmp_path, "no.yaml") == ["no.yaml: does not exist; check the path"]
    assert complaints(tmp_path, "no\0.yaml") == ['"no\\u0000.yaml" is not the name of a file; check the path']


def test_a_folder_a_pipe_and_a_device_are_no_manifests(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")

    assert complaints(tmp_path, "folder.yaml") == ["folder.yaml: is a folder; name a YAML file"]
    assert complaints(tmp_path, "pipe.yaml") == ["pipe.yaml: is not a file; name a YAML file"]
    assert complaints(tmp_path, "/dev/zero") == ["/dev/zero: is not a file; name a YAML file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_manifest(tmp_path: Path) -> None:
    write(tmp_path, "name: a\n")
    (tmp_path / "m.yaml").chmod(0)

    assert complaints(tmp_path, "m.yaml") == ["m.yaml: may not be read; check its permissions"]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", "m.yaml: is empty; a job needs provider and device"),
        (b"# only words\n---\n", "m.yaml: is empty; a job needs provider and device"),
        (b"a: 1\nb: x\0y", "m.yaml:2:5: is a binary file, not a manifest; name a YAML file"),
        ("a: é\nb: é\n".encode("latin-1"), "m.yaml:1:4: is not UTF-8 text; save it as UTF-8"),
        ("name: a".encode("utf-16"), "m.yaml:1:1: is UTF-16 text; save it as UTF-8"),
        (b"- a\n", 'm.yaml:1:1: a list is not a manifest; a manifest is a map of fields, such as "provider: …"'),
    ],
)
def test_a_file_that_is_no_manifest_at_all(tmp_path: Path, data: bytes, wanted: str) -> None:
    (tmp_path / "m.yaml").write_bytes(data)

    assert complaints(tmp_path, "m.yaml") == [wanted]


def test_a_manifest_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "m.yaml").open("wb") as file:
        file.truncate(100_000_000)

    assert complaints(tmp_path, "m.yaml") == [
        "m.yaml: has 100000000 bytes; 33554432 are the most; use matrix, or several files"
    ]


def test_a_manifest_outside_of_the_project(tmp_path: Path) -> None:
    write(tmp_path, f"{{{COMMON}}}")
    (tmp_path / "project").mkdir()

    assert complaints(tmp_path / "project", "m.yaml") == [
        f"m.yaml: is outside of the project {tmp_path / 'project'}; put it there, or run the command in its own project"
    ]


def test_experiments_share_no_name_also_in_other_case(tmp_path: Path) -> None:
    write(tmp_path, f"jobs: {{a: {{{COMMON}}}}}", "one.yaml")
    write(tmp_path, f"name: One\njobs: {{a: {{{COMMON}}}}}\n---\nname: one\njobs: {{b: {{{COMMON}}}}}", "two.yaml")

    assert complaints(tmp_path, "one.yaml", "two.yaml") == [
        'two.yaml:1:1: the experiment "One" is also in one.yaml:1 as "one"; give one of them another "name"',
        'two.yaml:4:1: the experiment "one" is also in one.yaml:1; give one of them another "name"',
    ]


def test_jobs_of_different_experiments_share_no_name(tmp_path: Path) -> None:
    write(tmp_path, f"name: a\njobs:\n  b.c: {{{COMMON}}}\n---\nname: a.b\njobs:\n  c: {{{COMMON}}}\n")

    assert complaints(tmp_path, "m.yaml") == [
        'm.yaml:7:1: the job "a.b.c" is also in m.yaml:3; give one of them another name'
    ]


def test_unknown_variables_from_outside_are_named(tmp_path: Path) -> None:
    write(tmp_path, f"vars: {{angles: [1]}}\njobs: {{a: {{{COMMON}}}}}")
    write(tmp_path, f"vars: {{n: 1}}\njobs: {{a: {{{COMMON}}}}}", "n.yaml")

    assert complaints(tmp_path, "m.yaml", texts={"angels": "1"}, typed={"x": 1}) == [
        'm.yaml: vars.angels: is not a variable of this manifest; did you mean "angles"?',
        "m.yaml: vars.x: is not a variable of this manifest; there are: angles",
    ]
    assert complaints(tmp_path, "m.yaml", "n.yaml", texts={"x": "1", "n": "2"}) == [
        "vars.x: is not a variable of these manifests; there are: angles, n"
    ]


def test_a_value_from_outside_is_told_where_it_is_used(tmp_path: Path) -> None:
    write(tmp_path, f"vars: {{n: 1}}\njobs:\n  a: {{{COMMON.replace('10', repr('{{ vars.n }}'))}}}")

    assert complaints(tmp_path, "m.yaml", texts={"n": "5"}) == [
        'm.yaml:3:63: jobs.a.shots: "5" is not a whole number above 0; '
        'give the variable by --var-json, or write "| int" behind it'
    ]


PROGRAMS = {
    "/etc/passwd": '"/etc/passwd" is an absolute path; write it relative to the manifest',
    "../secret": '"../secret" is outside of the project; move the file into the project folder',
    "a/../../secret": '"a/../../secret" is outside of the project; move the file into the project folder',
    "none/p.qasm": '"none/p.qasm" does not exist; there is no folder "none"',
    "q.qasm": '"q.qasm" does not exist; did you mean "p.qasm"?',
    "sub/inner.qsm": '"sub/inner.qsm" does not exist; did you mean "sub/inner.qasm"?',
    "r.txt": '"r.txt" does not exist; check the path',
    "sub": '"sub" is a folder, not a file; name a file in it',
    "sub/": '"sub/" is a folder, not a file; name a file in it',
    ".": '"." is a folder, not a file; name a file in it',
    "p.qasm/x": '"p.qasm/x" leads through "p.qasm", which is not a folder',
    "link.qasm": '"link.qasm" is a link; links are not followed; name the file itself',
    "folder/x": '"folder/x" leads through "folder", which is a link; links are not followed; name the file itself',
    "pipe": '"pipe" is a pipe, not a file; name a plain file',
    "socket": '"socket" is a socket or a device, not a file',
    "huge": '"huge" has 67108865 bytes; 67108864 are the most',
    "a\\\\b": '"a\\\\b" has a backslash; separate folders by "/"',
    "a\\u202eb": '"a\u202eb" has a character that cannot stand in a path',
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_cannot_be_used(tmp_path: Path, program: str) -> None:
    root = tmp_path / "root"
    write(root, f'provider: local\ndevice: ddsim\nshots: 1\nprogram: "{program}"\n')
    (tmp_path / "secret").write_text("outside")
    (root / "sub").mkdir()
    (root / "sub" / "inner.qasm").write_text("")
    (root / "link.qasm").symlink_to(root / "p.qasm")
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    os.truncate(os.open(root / "huge", os.O_CREAT | os.O_RDWR), 64 * 1024 * 1024 + 1)
    os.chdir(root)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")

        found = complaints(root, "m.yaml")

    assert found == [f"m.yaml:4:10: program: {PROGRAMS[program]}"]


def test_a_program_that_is_swapped_for_a_link_while_its_folder_is_open(tmp_path: Path) -> None:
    write(tmp_path, f"defaults: {{{COMMON}}}\njobs: {{a: {{program: sub/a}}, b: {{program: sub/b}}}}")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("")
    (tmp_path / "sub" / "b").symlink_to("/etc/hostname")

    assert complaints(tmp_path, "m.yaml") == [
        'm.yaml:2:42: jobs.b.program: "sub/b" is a link; links are not followed; name the file itself'
    ]


def test_many_problems_are_all_counted_and_the_first_are_told_in_full(tmp_path: Path) -> None:
    count = 3000
    wrong = "".join(f"  j{n}: {{shots: many}}\n" for n in range(count))
    write(tmp_path, "jobs:\n" + wrong)

    found = complaints(tmp_path, "m.yaml")

    assert len(found) == count
    assert found[0] == 'm.yaml:2:15: jobs.j0.shots: "many" is not a whole number above 0'
    assert found[-1] == "m.yaml:3001: jobs.j2999: has a field of a wrong form"


def test_a_template_in_a_program_is_told_at_its_line_there(tmp_path: Path) -> None:
    (tmp_path / "t.qasm").write_text("OPENQASM 2.0;\n\nqreg q[{{ matrix.m }}];\n")
    write(
        tmp_path,
        "jobs:\n  a:\n    {provider: local, device: ddsim, shots: 1, matrix: {n: [1]},"
        " program: {path: t.qasm, template: true}}",
    )

    assert complaints(tmp_path, "m.yaml") == ['t.qasm:3: "matrix.m" is not defined (for a:n=1); matrix has: n']


def test_a_template_program_is_opened_with_the_same_care(tmp_path: Path) -> None:
    (tmp_path / "bin").write_bytes(b"\xff\xfe")
    write(
        tmp_path,
        """
        defaults: {provider: local, device: ddsim, shots: 1}
        jobs:
          a: {program: {path: /etc/passwd, template: true}}
          b: {program: {path: bin, template: true}}
        """,
    )

    assert complaints(tmp_path, "m.yaml") == [
        'm.yaml:4:23: jobs.a.program.path: "/etc/passwd" is an absolute path; write it relative to the manifest',
        'm.yaml:5:23: jobs.b.program.path: "bin" is not UTF-8 text, which a template must be',
    ]


def test_templates_that_never_end_are_stopped(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"jobs:\n  a: {{{COMMON}, params: {{x: '{{{{ 9 ** (9 ** 9) }}}}'}}}}\n  b: {{{COMMON}}}\n",
    )

    assert complaints(tmp_path, "m.yaml") == [
        'm.yaml:2:79: jobs.a.params.x: "{{ 9 ** (9 ** 9) }}": the number is too large'
    ]


def test_a_good_manifest_has_no_complaints(tmp_path: Path) -> None:
    assert len(read(tmp_path, write(tmp_path, f"{{{COMMON}}}"))) == 1


def test_a_link_out_of_the_project_is_not_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    os.chdir(root)
    (tmp_path / "netrc").write_text("machine h password hunter2\n")
    (root / "m.yaml").symlink_to(tmp_path / "netrc")
    write(root, f"{{{COMMON}}}", "real.yaml")
    (root / "inner.yaml").symlink_to("real.yaml")

    assert complaints(root, "m.yaml") == [f"m.yaml: is a link out of the project {root}; put the file itself there"]
    assert [job.key for job in read(root, "inner.yaml")[0].jobs] == ["inner"]


def test_of_very_many_problems_the_looking_stops(tmp_path: Path) -> None:
    jobs = "".join(f"  j{n}: {{{COMMON}, needs: [x{n}]}}\n" for n in range(10_010))
    write(tmp_path, f"jobs:\n{jobs}")
    documents = "".join(f"---\nname: d{n}\nprovder: local\n" for n in range(10_010))
    write(tmp_path, documents, "d.yaml")

    many, several = complaints(tmp_path, "m.yaml"), complaints(tmp_path, "d.yaml")

    assert (len(many), len(several)) == (10_002, 10_002)
    assert many[0] == 'm.yaml:2:76: jobs.j0.needs[0]: "x0" is not a job here'
    assert (
        many[-1]
        == "m.yaml:10003: is not looked at, nor what follows it, since too much is wrong above; mend that first"
    )
    assert several[0] == 'd.yaml:3:1: provder: is not a field of a job; did you mean "provider"?'
    assert (
        several[-1]
        == "d.yaml:30005: is not looked at, nor what follows it, since too much is wrong above; mend that first"
    )


def test_needs_that_stand_for_too_many_jobs_are_refused(tmp_path: Path) -> None:
    every = "".join(f'  j{n}: {{{COMMON}, needs: ["*"]}}\n' for n in range(1_100))
    write(tmp_path, f"jobs:\n{every}")
    patterns = "".join(f'  j{n}: {{{COMMON}, needs: ["k{n}*"]}}\n  k{n}: {{{COMMON}}}\n' for n in range(2_300))
    write(tmp_path, f"jobs:\n{patterns}", "p.yaml")

    words = "with this one, the needs of all jobs stand for too many others; name fewer jobs, or fewer patterns"
    assert complaints(tmp_path, "m.yaml") == [f"m.yaml:911:77: jobs.j909.needs: {words}"]
    assert complaints(tmp_path, "p.yaml") == [f"p.yaml:4348:78: jobs.j2173.needs: {words}"]
