"""`qrun render`: the jobs as they would be sent, after templates, defaults and matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from qrun.cli.options import debug, given_values, manifests
from qrun.cli.out import say, say_json
from qrun.cli.reading import read
from qrun.job import Conduct, Job, rendered

if TYPE_CHECKING:
    from qrun.manifest import Experiment

NUMBER: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|0o[0-7]+|0x[0-9a-fA-F]+")


@click.command("render")
@manifests
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="how to print the jobs")
@debug
def command(
    manifests: Sequence[str], var: Sequence[str], var_json: Sequence[str], var_files: Sequence[str], output: str
) -> int:
    """Print the jobs of manifests with every template filled in, every default in place, every matrix unfolded."""
    reading = read(manifests, given_values(var, var_json, var_files))
    if output == "json":
        say_json({"version": 1, "experiments": [_experiment(e) for e in reading.experiments], "errors": []})
    else:
        say("---\n".join(map(_yaml, reading.experiments)))
    return 0


def _experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "experiment": experiment.name,
        "manifest": experiment.path,
        "jobs": [{"job": job.key, "digest": job.digest, **_job(job)} for job in experiment.jobs],
    }


def _job(job: Job) -> dict[str, Any]:
    """What was sent or decided, and how qrun behaves around it where that is not the default."""
    usual = Conduct()
    conduct = job.conduct
    behaviour: dict[str, Any] = {
        "retry": {"attempts": conduct.attempts} if conduct.attempts != usual.attempts else None,
        "timeout": conduct.timeout,
        "needs": list(conduct.needs) or None,
    }
    return {**rendered(job), **{name: value for name, value in behaviour.items() if value is not None}}


def _yaml(experiment: Experiment) -> str:
    """Text that a YAML 1.2 reader understands as it was meant; keys in the order of the fields."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the dumper's signature)
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = '"' if NUMBER.fullmatch(value) or not value.isprintable() else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    jobs = {job.key: {"digest": job.digest, **_job(job)} for job in experiment.jobs}
    whole = {"name": experiment.name, "manifest": experiment.path, "jobs": jobs}
    found: str = yaml.dump(whole, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
    return found
