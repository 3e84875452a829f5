"""From files to jobs: forms, defaults, matrix, runs, variables, templates, names, order, programs."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from qrun.errors import ManifestError
from qrun.job import Conduct, Job
from qrun.manifest import Experiment, Values, content, load, variables
from qrun.manifest.programs import Programs
from qrun.providers import capabilities as real
from tests.manifests import CONNECTIONS, PROGRAM, capabilities, complaints, jobs, read, write

GOLDEN = Path(__file__).parent / "golden"
SPECS = Path(__file__).parent.parent / "specs"
COMMON = "provider: local, device: ddsim, program: p.qasm, shots: 10"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_short_form_is_an_experiment_of_one_job(tmp_path: Path) -> None:
    text = "# a comment\nname: bell\nprovider: local\ndevice: ddsim\nprogram: p.qasm\nshots: 1000\ntags: [demo]\n"

    (experiment,) = read(tmp_path, write(tmp_path, text, "specs/x.yaml") and write(tmp_path, text))

    (job,) = experiment.jobs
    assert (experiment.name, experiment.file, experiment.path, experiment.line) == ("bell", "m.yaml", "m.yaml", 2)
    assert experiment.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert (job.name, job.key, job.kind, job.shots, job.tags, job.line) == (
        "bell",
        "bell",
        "sampling",
        1000,
        ("demo",),
        2,
    )
    assert (job.target.connection, job.target.provider, job.target.device, job.target.site) == (
        "local",
        "local",
        "ddsim",
        None,
    )
    assert [(program.path, program.sha256, program.size) for program in job.programs] == [
        ("p.qasm", hashlib.sha256(PROGRAM.encode()).hexdigest(), len(PROGRAM))
    ]


def test_an_experiment_is_named_after_its_file_unless_it_says_otherwise(tmp_path: Path) -> None:
    write(tmp_path, f"jobs: {{a: {{{COMMON}}}}}", "rabi-2.yaml")

    assert [experiment.name for experiment in read(tmp_path, "rabi-2.yaml")] == ["rabi-2"]


def test_a_file_holds_several_experiments_and_keeps_their_order(tmp_path: Path) -> None:
    text = f"name: b\njobs:\n  z: {{{COMMON}}}\n\n  a: {{{COMMON}}}\n---\nname: a\n{COMMON.replace(', ', chr(10))}\n"

    experiments = read(tmp_path, write(tmp_path, text))

    assert [[(job.name, job.line) for job in experiment.jobs] for experiment in experiments] == [
        [("b.z", 3), ("b.a", 5)],
        [("a", 7)],
    ]


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, f"{{{COMMON.replace('p.qasm', '../p.qasm')}}}", "deep/specs/m.yaml")
    (tmp_path / "deep/p.qasm").write_text("x")

    (experiment,) = read(tmp_path, "deep/specs/../specs/m.yaml")

    assert experiment.path == "deep/specs/m.yaml"
    assert experiment.jobs[0].programs[0].path == "deep/p.qasm"


def test_the_same_file_named_twice_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, f"{{{COMMON}}}")

    assert len(read(tmp_path, "m.yaml", "./m.yaml")) == 1


def test_defaults_merge_maps_deeply_and_replace_lists(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"""
        defaults:
          {{{COMMON}, params: {{a: 1, b: {{c: 2, d: [1]}}}}, tags: [x], options: {{seed: 3}}, retry: {{attempts: 4}}}}
        jobs:
          plain: {{}}
          own: {{shots: 20, params: {{b: {{d: [2, 3]}}, e: 5}}, tags: [y]}}
        """,
    )

    assert found["plain"].params == {"a": 1, "b": {"c": 2, "d": [1]}}
    assert found["own"].params == {"a": 1, "b": {"c": 2, "d": [2, 3]}, "e": 5}
    assert (found["own"].shots, found["own"].tags, found["own"].conduct.attempts) == (20, ("y",), 4)
    assert found["own"].options == {"seed": 3}


def test_inherited_fields_that_a_kind_lacks_are_dropped(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"""
        defaults: {{{COMMON}, observable: [[Z0, 1.0]], options: {{seed: 3}}}}
        jobs:
          sampled: {{}}
          estimated: {{kind: estimation}}
        """,
    )

    assert (found["sampled"].observable, found["sampled"].options) == ((), {"seed": 3})
    assert (found["estimated"].observable, found["estimated"].options) == ((("Z0", 1),), {})


def test_a_matrix_makes_one_job_for_each_combination_in_written_order(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"jobs: {{rabi: {{{COMMON}, matrix: {{omega: [0.0, 0.5, 1e30], n: [3, true, null, a b, '2', x.y]}}}}}}",
    )

    assert list(found)[:7] == [
        "rabi:omega=0,n=3",
        "rabi:omega=0,n=true",
        "rabi:omega=0,n=null",
        'rabi:omega=0,n="a b"',
        'rabi:omega=0,n="2"',
        "rabi:omega=0,n=x.y",
        "rabi:omega=0.5,n=3",
    ]
    assert list(found)[-1] == "rabi:omega=1e+30,n=x.y"
    assert {job.line for job in found.values()} == {1}


def test_include_and_exclude_work_as_in_github_actions(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"""
        jobs:
          a:
            {COMMON.replace(", ", chr(10) + "            ")}
            matrix:
              fruit: [apple, pear]
              animal: [cat, dog]
              exclude:
                - {{fruit: pear, animal: dog}}
              include:
                - {{color: green}}
                - {{color: pink, animal: cat}}
                - {{fruit: apple, shape: circle}}
                - {{fruit: banana}}
                - {{fruit: banana, animal: cat}}
        """,
    )

    assert list(found) == [
        "a:fruit=apple,animal=cat,color=pink,shape=circle",
        "a:fruit=apple,animal=dog,color=green,shape=circle",
        "a:fruit=pear,animal=cat,color=pink",
        "a:fruit=banana",
        "a:fruit=banana,animal=cat",
    ]


def test_include_alone_lists_the_combinations(tmp_path: Path) -> None:
    found = jobs(tmp_path, f"jobs: {{a: {{{COMMON}, matrix: {{include: [{{x: 1}}, {{x: 2, y: 3}}]}}}}}}")

    assert list(found) == ["a:x=1", "a:x=2,y=3"]


def test_equal_jobs_of_a_matrix_have_one_digest_and_names_of_their_own(tmp_path: Path) -> None:
    found = jobs(tmp_path, f"name: a\n{COMMON.replace(', ', chr(10))}\nmatrix: {{repeat: [1, 2, 3]}}")

    assert list(found) == ["a:repeat=1", "a:repeat=2", "a:repeat=3"]
    assert len({job.digest for job in found.values()}) == 1


def test_runs_go_out_together_and_are_counted(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"""
        jobs:
          b:
            {COMMON.replace(", ", chr(10) + "            ")}
            params: {{x: 0, y: 1}}
            matrix: {{n: [1, 2]}}
            runs: [{{params: {{x: 5}}}}, {{params: {{y: "{{{{ matrix.run }}}}"}}, shots: 7}}]
        """,
    )

    assert {key: (dict(job.params), job.shots, job.conduct.together) for key, job in found.items()} == {
        "b:n=1,run=1": ({"x": 5, "y": 1}, 10, "b:n=1"),
        "b:n=1,run=2": ({"x": 0, "y": 2}, 7, "b:n=1"),
        "b:n=2,run=1": ({"x": 5, "y": 1}, 10, "b:n=2"),
        "b:n=2,run=2": ({"x": 0, "y": 2}, 7, "b:n=2"),
    }


def test_one_more_run_changes_no_other(tmp_path: Path) -> None:
    text = f"jobs: {{b: {{{COMMON}, runs: [{{params: {{x: 5}}}}]}}}}"
    before = jobs(tmp_path, text)

    after = jobs(tmp_path, text.replace("]", ", {params: {x: 6}}]"))

    assert after["b:run=1"] == before["b:run=1"]
    assert list(after) == ["b:run=1", "b:run=2"]


def test_templates_fill_values_and_keep_their_types(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        """
        name: exp
        vars: {angles: [0.5, 1.0], shots: 100, literal: "{{ not.filled }}", items: {a: [1]}}
        defaults: {provider: local, device: ddsim, shots: "{{ vars.shots }}"}
        jobs:
          rabi:
            program: "{{ matrix.file }}.qasm"
            matrix: {omega: "{{ vars.angles }}", file: ["{{ 'p' }}"]}
            params: {twice: "{{ matrix.omega * 2 }}", deep: {text: "{{ matrix.omega }}!", all: "{{ vars.items }}"}}
            tags: ["t-{{ params.twice }}", "{{ vars.literal }}", "{{ job.experiment }}/{{ job.key }}"]
            options: {seed: "{{ params.twice | int }}"}
        """,
    )

    first = found["rabi:omega=0.5,file=p"]
    assert first.params == {"twice": 1, "deep": {"text": "0.5!", "all": {"a": [1]}}}
    assert first.tags == ("t-1.0", "{{ not.filled }}", "exp/rabi:omega=0.5,file=p")
    assert (first.shots, first.options) == (100, {"seed": 1})
    assert found["rabi:omega=1,file=p"].options == {"seed": 2}


def test_variables_are_replaced_from_outside(tmp_path: Path) -> None:
    text = f"name: a\nvars: {{n: 1, m: 2, k: 3}}\n{COMMON.replace(', ', chr(10))}\nparams: {{x: '{{{{ vars }}}}'}}"

    found = jobs(tmp_path, text, texts={"n": "7"}, typed={"m": [1.5], "n": 8})

    assert found["a"].params == {"x": {"n": "7", "m": [1.5], "k": 3}}


def test_a_file_of_variables_is_yaml_or_json(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("a: 1e-3\nb: on\n")
    (tmp_path / "v.json").write_text('{"a": [1, null]}')
    (tmp_path / "l.yaml").write_text("- a\n")

    assert variables("v.yaml") == {"a": 0.001, "b": "on"}
    assert variables("v.json") == {"a": [1, None]}
    with pytest.raises(ManifestError) as caught:
        variables("l.yaml")
    assert str(caught.value) == 'l.yaml: is not one map from variables to values; write "x: 1"'


def test_a_program_may_be_a_template(tmp_path: Path) -> None:
    (tmp_path / "t.qasm").write_bytes(
        b"// {{ job.key }}\r\n{% for i in range(matrix.n) %}x q[{{ i }}];{% endfor %}\r\n"
    )

    found = jobs(
        tmp_path,
        "jobs: {a: {provider: local, device: ddsim, shots: 1, matrix: {n: [1, 2]},"
        " program: [p.qasm, {path: t.qasm, template: true}]}}",
    )

    made = found["a:n=2"].programs[1]
    assert made.content == b"// a:n=2\nx q[0];x q[1];\n"
    assert (made.path, made.size) == ("t.qasm", len(made.content))
    assert made.sha256 == hashlib.sha256(made.content).hexdigest()
    assert found["a:n=1"].digest != found["a:n=2"].digest
    assert content(str(tmp_path), made) == made.content


def test_needs_are_jobs_patterns_or_a_whole_matrix(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"""
        defaults: {{{COMMON}}}
        jobs:
          last: {{needs: ["*"]}}
          cal-x: {{}}
          cal-y: {{needs: cal-x}}
          sweep: {{matrix: {{n: [1, 2]}}, needs: ["cal-*"]}}
          one: {{needs: ["sweep:n=2"]}}
          all: {{needs: [sweep]}}
        """,
    )

    assert {key: job.conduct.needs for key, job in found.items()} == {
        "last": ("cal-x", "cal-y", "sweep:n=1", "sweep:n=2", "one", "all"),
        "cal-x": (),
        "cal-y": ("cal-x",),
        "sweep:n=1": ("cal-x", "cal-y"),
        "sweep:n=2": ("cal-x", "cal-y"),
        "one": ("sweep:n=2",),
        "all": ("sweep:n=1", "sweep:n=2"),
    }


def test_conduct_is_read_and_is_no_identity(tmp_path: Path) -> None:
    extra = "retry: {attempts: 3}, timeout: 1.5h, submit: {with: night, pack: 5, open: true}, description: d"

    found = jobs(tmp_path, f"defaults: {{{COMMON}}}\njobs: {{a: {{}}, b: {{{extra}}}, c: {{timeout: 90, tags: [t]}}}}")

    assert found["b"].conduct == Conduct(attempts=3, timeout=5400.0, together="night", pack=5, open=True)
    assert (found["c"].conduct.timeout, found["b"].description) == (90.0, "d")
    assert len({job.digest for job in found.values()}) == 1


def test_budgets_belong_to_the_experiment(tmp_path: Path) -> None:
    write(tmp_path, f"budget: {{max_jobs: 5, allow_unknown_cost: true}}\njobs: {{a: {{{COMMON}}}}}")

    (experiment,) = read(tmp_path, "m.yaml")

    assert experiment.budget == {"max_jobs": 5, "allow_unknown_cost": True}


def test_a_connection_gives_its_site_which_is_identity(tmp_path: Path) -> None:
    found = jobs(tmp_path, f"defaults: {{{COMMON}}}\njobs: {{a: {{}}, b: {{provider: fresnel}}}}")

    assert found["b"].target.site == "cloud.example/project"
    assert (found["b"].target.connection, found["b"].target.provider) == ("fresnel", "local")
    assert found["b"].digest != found["b"].digest_without_site == found["a"].digest
    assert found["a"].digest is found["a"].digest_without_site


def test_local_options_are_no_identity(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"defaults: {{{COMMON}}}\njobs: {{a: {{}}, b: {{options: {{webhook: x}}}}, c: {{options: {{seed: 1}}}}}}",
    )

    assert found["a"].digest == found["b"].digest != found["c"].digest
    assert found["b"].options == {"webhook": "x"}


def test_numbers_are_kept_in_the_form_that_is_hashed(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"defaults: {{{COMMON}}}\n"
        "jobs: {a: {shots: 1e1, params: {x: [1.0, -0.0]}}, b: {params: {x: [1, 0]}}}",
    )

    assert json.dumps(found["a"].params) == json.dumps(found["b"].params) == '{"x": [1, 0]}'
    assert found["a"].digest == found["b"].digest
    assert type(found["a"].shots) is int


def test_line_ends_of_a_program_are_no_identity_and_binary_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "crlf.qasm").write_bytes(PROGRAM.replace("\n", "\r\n").encode())
    (tmp_path / "binary").write_bytes(b"a\r\n\0")

    found = jobs(
        tmp_path,
        f"defaults: {{{COMMON}}}\njobs: {{a: {{}}, b: {{program: crlf.qasm}}, c: {{program: binary}}}}",
    )

    assert found["a"].digest == found["b"].digest
    assert found["b"].programs[0].size == len(PROGRAM)
    assert content(str(tmp_path), found["b"].programs[0]) == PROGRAM.encode()
    assert content(str(tmp_path), found["c"].programs[0]) == b"a\r\n\0"


def test_a_program_that_changes_after_planning_is_not_sent(tmp_path: Path) -> None:
    (job,) = jobs(tmp_path, f"{{{COMMON}}}").values()
    (tmp_path / "p.qasm").write_text("other")

    with pytest.raises(ManifestError) as caught:
        content(str(tmp_path), job.programs[0])
    assert str(caught.value) == "p.qasm: has changed since it was planned; run the command again"

    (tmp_path / "p.qasm").unlink()
    with pytest.raises(ManifestError) as caught:
        content(str(tmp_path), job.programs[0])
    assert str(caught.value) == '"p.qasm" does not exist; check the path'


def test_a_known_program_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, f"{{{COMMON}}}")
    (tmp_path / "p.qasm").unlink()
    asked: list[str] = []

    def known(path: str) -> tuple[str, int]:
        asked.append(path)
        return ("f" * 64, 5)

    (experiment,) = load(
        ["m.yaml"], Values(), root=str(tmp_path), connections={}, capabilities=capabilities, known=known
    )

    assert asked == ["p.qasm"]
    assert (experiment.jobs[0].programs[0].sha256, experiment.jobs[0].programs[0].size) == ("f" * 64, 5)


def test_programs_in_many_folders_keep_few_descriptors(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"d{number}" / "e").mkdir(parents=True)
        (tmp_path / f"d{number}" / "e" / "p").write_text(str(number))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0

    with Programs(str(tmp_path)) as programs:
        sizes = [programs.program(f"d{number}/e/p").size for number in range(300)]
        during = len(os.listdir("/proc/self/fd")) if before else 0

    assert sizes == [len(str(number)) for number in range(300)]
    assert during - before <= 128


def test_a_bom_and_crlf_are_tolerated(tmp_path: Path) -> None:
    write(tmp_path, "")
    text = f"name: a\n{COMMON.replace(', ', chr(10))}\n"
    (tmp_path / "m.yaml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())

    (experiment,) = read(tmp_path, "m.yaml")

    assert (experiment.name, experiment.jobs[0].line) == ("a", 1)


def table(experiments: list[Experiment]) -> dict[str, list[str]]:
    return {job.name: [job.digest, job.digest_without_site] for one in experiments for job in one.jobs}


def test_digests_may_never_change() -> None:
    os.chdir(GOLDEN / "manifest")
    wanted = json.loads((GOLDEN / "digests.json").read_text())["jobs"]

    found = load(["digests.yaml"], Values(), root=".", connections=CONNECTIONS, capabilities=capabilities)

    assert table(list(found)) == wanted


def test_all_example_manifests_are_valid() -> None:
    os.chdir(SPECS.parent)
    files = sorted(str(path.relative_to(SPECS.parent)) for path in SPECS.glob("*.yaml"))

    found = load(files, Values(), root=".", connections={}, capabilities=real)

    assert {experiment.name for experiment in found} >= {"bell", "chain", "estimation", "multi", "pair", "sweep"}
    assert all(isinstance(job, Job) for experiment in found for job in experiment.jobs)


def test_problems_of_all_files_come_together_in_the_order_of_their_places(tmp_path: Path) -> None:
    write(tmp_path, "shots: 0\n", "b.yaml")
    write(tmp_path, "x: [\n", "a.yaml")
    write(tmp_path, f"{{{COMMON}}}", "good.yaml")

    assert complaints(tmp_path, "b.yaml", "a.yaml", "good.yaml", "none.yaml") == [
        "a.yaml:2:1: a value was expected here; close what is open, or quote the text",
        "b.yaml:1:8: shots: 0 is not a whole number above 0",
        "none.yaml: does not exist; check the path",
    ]


def test_a_program_template_is_filled_in_where_the_manifest_has_no_other(tmp_path: Path) -> None:
    (tmp_path / "t.qasm").write_text("// {{ job.key }}\n")

    found = jobs(
        tmp_path,
        "jobs: {a: {provider: local, device: ddsim, shots: 1, program: {path: t.qasm, template: true}}}",
    )

    assert found["a"].programs[0].content == b"// a\n"


def test_jobs_keep_their_order_around_those_that_wait_for_a_template(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"defaults: {{{COMMON}}}\njobs: {{z: {{}}, m: {{matrix: {{n: [2, 1]}}}}, a: {{}}, "
        "t: {tags: ['x{{ 1 }}']}, b: {}}",
    )

    assert list(found) == ["z", "m:n=2", "m:n=1", "a", "t", "b"]


def test_a_matrix_of_many_templated_jobs_is_filled_in_by_the_thousand(tmp_path: Path) -> None:
    found = jobs(
        tmp_path,
        f"""
        defaults: {{{COMMON}}}
        jobs:
          a: {{matrix: {{n: "{{{{ range(2500) | list }}}}"}}, params: {{n: "{{{{ matrix.n + 1 }}}}"}}}}
        """,
    )

    assert [job.params["n"] for job in found.values()] == list(range(1, 2501))
    assert list(found)[-1] == "a:n=2499"
