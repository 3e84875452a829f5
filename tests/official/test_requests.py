"""What qrun sends for a job, field by field, beside what the official clients send for the same job."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.emulator import Emulator, shared
from tests.official.programs import BELL, COIN, ONE, PAIR, SCRIPT
from tests.official.recorder import Sent, recorder

oqtopus = pytest.importorskip("oqtopus_client", reason="the official clients are not installed")
quri = pytest.importorskip("quri_parts_oqtopus.backend")
operator = pytest.importorskip("quri_parts.core.operator")

Spec = oqtopus.OqtopusJobSpec
Speak = Callable[[Emulator, str], None]

FILES: Final = {"bell.qasm": BELL, "one.qasm": ONE, "coin.qasm": COIN, "pair.qasm": PAIR, "script.py": SCRIPT}
MARKS: Final = re.compile(r"a pair qr1[a-z2-7]{26} qrx[a-z2-7]{26}")
OF_THE_CLOUD: Final = frozenset({"host", "content-length", "connection", "q-api-token"})  # their values say nothing

# Where the two may differ, what of it each sends, and why; each of these stands in every comparison.
ALLOWED: Final[Mapping[str, str]] = {
    "* header user-agent": "each says who it is",
    "* header accept-encoding": "qrun counts an answer's bytes as they come, so none may be packed",
    "read header content-type": "the client names a type for requests without a body too",
    "upload field type": "the client calls each plain field text; a form's fields are that anyway",
    "submit body description": "qrun's two marks stand behind the user's text",
}


def by_client(make: Callable[[], Any]) -> Speak:
    def speak(account: Emulator, proxy: str) -> None:
        client = oqtopus.OqtopusClient(oqtopus.OqtopusConfig(account.url, account.token, proxy))
        client.run_job(make(), interval=0.02)

    return speak


def by_quri(run: Callable[[Any], Any]) -> Speak:
    def speak(account: Emulator, proxy: str) -> None:
        run(quri.OqtopusConfig(account.url, account.token, proxy)).result(wait=0.02)

    return speak


def sampled(config: Any) -> Any:
    return quri.OqtopusSamplingBackend(config).sample_qasm(
        BELL, "qulacs", 1000, "exp.job", "a pair", mitigation_info={"ro_error_mitigation": "pseudo_inverse"}
    )


def several(config: Any) -> Any:
    return quri.OqtopusSamplingBackend(config).sample_qasm([ONE, COIN], "qulacs", 100, "exp.job", "a pair")


def estimated(config: Any) -> Any:
    terms = {operator.pauli_label("X0 X1"): 1.5, operator.PAULI_IDENTITY: -1.0}
    return quri.OqtopusEstimationBackend(config).estimate_qasm(
        PAIR, operator.Operator(terms), "qulacs", 1000, "exp.job", "a pair"
    )


def scripted(config: Any, folder: Path) -> Any:
    (folder / "script.py").write_text(SCRIPT)
    return quri.OqtopusSseBackend(config).run_sse(str(folder / "script.py"), "qulacs", "exp.job", "a pair")


LABEL: Final = {"device_id": "qulacs", "name": "exp.job", "description": "a pair"}
TRANSPILER: Final = {"transpiler_lib": "qiskit", "transpiler_options": {"optimization_level": 2}}
TERMS: Final = [{"pauli": "X0 X1", "coeff": 1.5}, {"pauli": "I", "coeff": -1.0}]

CASES: Final[Mapping[str, tuple[dict[str, Any], Speak]]] = {
    "a sampling job": (
        {"program": "bell.qasm", "shots": 1000},
        by_client(lambda: Spec.sampling(program=BELL, shots=1000, **LABEL)),
    ),
    "a sampling job with options": (
        {"program": "bell.qasm", "shots": 7, "options": {"transpiler_info": TRANSPILER}},
        by_client(lambda: Spec.sampling(program=BELL, shots=7, transpiler_info=TRANSPILER, **LABEL)),
    ),
    "a sampling job without transpiling": (
        {"program": "bell.qasm", "shots": 7, "options": {"transpiler_info": {"transpiler_lib": None}}},
        by_client(lambda: Spec.sampling(program=BELL, shots=7, transpiler_info={"transpiler_lib": None}, **LABEL)),
    ),
    "a sampling job of QURI Parts": (
        {
            "program": "bell.qasm",
            "shots": 1000,
            "options": {"mitigation_info": {"ro_error_mitigation": "pseudo_inverse"}},
        },
        by_quri(sampled),
    ),
    "several programs": (
        {"program": ["one.qasm", "coin.qasm"], "kind": "multi", "shots": 100},
        by_client(lambda: Spec.multi_manual(program=[ONE, COIN], shots=100, **LABEL)),
    ),
    "several programs of QURI Parts": (
        {"program": ["one.qasm", "coin.qasm"], "kind": "multi", "shots": 100},
        by_quri(several),
    ),
    "an estimation": (
        {"program": "pair.qasm", "kind": "estimation", "shots": 1000, "observable": [["X0 X1", 1.5], ["I", -1.0]]},
        by_client(lambda: Spec.estimation(program=PAIR, shots=1000, operator=TERMS, **LABEL)),
    ),
    "an estimation of QURI Parts": (
        {"program": "pair.qasm", "kind": "estimation", "shots": 1000, "observable": [["X0 X1", 1.5], ["I", -1.0]]},
        by_quri(estimated),
    ),
    "a program beside the device": (
        {"program": "script.py", "kind": "sse"},
        by_client(lambda: Spec.sse(program=SCRIPT, shots=1, **LABEL)),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_qrun_sends_what_the_official_client_sends(case: str, cloud: Emulator, tmp_path: Path) -> None:
    job, speak = CASES[case]

    theirs = heard(lambda proxy: speak(cloud, proxy))
    ours = heard(lambda proxy: applied(tmp_path, cloud, proxy, job))

    differences = apart(steps(theirs), steps(ours))
    assert {name: differences[name] for name in differences if name not in ALLOWED} == {}
    assert set(ALLOWED) == set(differences)
    description, marked = differences["submit body description"][0]
    assert description == "a pair"
    assert MARKS.fullmatch(marked)


def test_qrun_sends_an_sse_program_as_quri_parts_does(cloud: Emulator, tmp_path: Path) -> None:
    theirs = heard(lambda proxy: by_quri(lambda config: scripted(config, tmp_path))(cloud, proxy))
    ours = heard(lambda proxy: applied(tmp_path, cloud, proxy, {"program": "script.py", "kind": "sse"}))

    assert set(apart(steps(theirs), steps(ours))) == set(ALLOWED)


def test_every_request_of_qrun_is_one_that_the_client_knows(cloud: Emulator, tmp_path: Path) -> None:
    known = {"GET /devices", "GET /devices/*", "POST /jobs", "GET /jobs", "POST /jobs/*/submit", "GET /jobs/*/status"}
    known |= {"GET /jobs/*", "POST storage", "GET storage"}
    filters = {"fields", "start_time", "end_time", "status", "q", "page", "size", "order"}

    ours = heard(lambda proxy: applied(tmp_path, cloud, proxy, {"program": "bell.qasm", "shots": 10}))

    api = cloud.url.partition("//")[2]
    assert {route(sent, api) for sent in ours} <= known
    assert {name for sent in ours if sent.host == api for name in sent.query} <= filters
    assert all(sent.headers.get("q-api-token") == cloud.token for sent in ours if sent.host == api)
    assert all("q-api-token" not in sent.headers for sent in ours if sent.host != api)
    assert all("authorization" not in sent.headers and "cookie" not in sent.headers for sent in ours)
    assert cloud.books()["leaks"] == 0


def test_everything_goes_through_the_proxy_of_the_connection(cloud: Emulator, tmp_path: Path) -> None:
    ours = heard(lambda proxy: applied(tmp_path, cloud, proxy, {"program": "bell.qasm", "shots": 10}))

    assert len(ours) == sum(route["asked"] for route in cloud.books()["routes"].values())


def test_a_form_field_that_the_client_drops_is_given_back_by_qrun(tmp_path: Path) -> None:
    account = shared().new_account(trace=True)
    client = oqtopus.OqtopusClient(oqtopus.OqtopusConfig(account.url, account.token))

    with pytest.raises(Exception, match="403"):
        client.submit_job(Spec.sampling(program=BELL, **LABEL))
    ours = heard(lambda proxy: applied(tmp_path, account, proxy, {"program": "bell.qasm", "shots": 10}))

    account.close()
    (upload,) = [sent for sent in ours if sent.method == "POST" and sent.host != account.url.partition("//")[2]]
    names = [field.name for field in upload.form]
    assert "x-amz-meta-trace" in names
    assert names[-1] == "file"


# --- what was sent, taken apart ---------------------------------------------------------------------------------------


def heard(talk: Callable[[str], None]) -> list[Sent]:
    with recorder() as listening:
        talk(listening.url)
    return listening.sent


def steps(sent: list[Sent]) -> dict[str, Sent]:
    """The requests that every job needs: the three that submit it, one that reads it, one that fetches its result."""
    posts = [each for each in sent if each.method == "POST"]
    assert len(posts) == 3, posts
    job = posts[2].path.split("/")[2]
    (read, *_) = [each for each in sent if (each.method, each.path) == ("GET", f"/jobs/{job}")]
    (fetch,) = [each for each in sent if each.path.endswith(f"{job}/result.zip")]
    return dict(zip(("register", "upload", "submit"), posts, strict=True)) | {"read": read, "fetch": fetch}


def apart(theirs: Mapping[str, Sent], ours: Mapping[str, Sent]) -> dict[str, list[tuple[Any, Any]]]:
    """By the name of a field what each sends, where they differ; a header of all five steps is one field."""
    found: dict[str, list[tuple[Any, Any]]] = {}
    for step in theirs:
        two = (taken_apart(theirs[step]), taken_apart(ours[step]))
        for name in sorted(two[0].keys() | two[1].keys()):
            one, other = (each.get(name) for each in two)
            if one != other:
                whole = f"* {name}" if f"* {name}" in ALLOWED else f"{step} {name}"
                found.setdefault(whole, []).append((one, other))
    return found


def taken_apart(sent: Sent) -> dict[str, Any]:
    """The fields of a request by their names, without what the cloud itself has said before."""
    found: dict[str, Any] = {"method": sent.method, "path": shape(sent.path), "query": sorted(sent.query)}
    for name, value in sent.headers.items():
        found[f"header {name}"] = "…" if name in OF_THE_CLOUD else value.partition("; boundary")[0]
    found.pop("header content-length", None)  # of a request without a body it may be left out
    if found.get("header content-type") == "multipart/form-data":
        return found | of_form(sent)
    members = json.loads(sent.body) if sent.body else {}
    return found | {f"body {name}": value for name, value in members.items()}


def of_form(sent: Sent) -> dict[str, Any]:
    *fields, file = sent.form
    ((entry, compression, content),) = file.entries
    return {
        "fields": [field.name for field in fields],
        "field type": {field.type for field in fields},
        "file": (file.name, file.file, file.type),
        "entry": (entry, compression),
        **{f"payload {name}": value for name, value in json.loads(content).items()},
    }


def shape(path: str) -> str:
    return re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "*", path)


def route(sent: Sent, api: str) -> str:
    path = re.sub(r"^/devices/[^/]+$", "/devices/*", shape(sent.path))
    return f"{sent.method} {path}" if sent.host == api else f"{sent.method} storage"


# --- qrun as its users have it ----------------------------------------------------------------------------------------


def applied(folder: Path, account: Emulator, proxy: str, job: Mapping[str, Any]) -> None:
    """`qrun apply` of one job, with the connection in the user's own settings."""
    project, home = folder / "project", folder / "own"
    project.mkdir()
    settings = home / ".config" / "qrun" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.touch(0o600)
    settings.write_text(
        f'[connections.cloud]\ntype = "oqtopus"\nurl = "{account.url}"\n'
        f'api_token = "{account.token}"\nproxy = "{proxy}"\n'
    )
    (project / "qrun.toml").write_text('project = "5f0c7a52-6d0e-4b1e-9d0b-1f6f6f3a2b11"\n')
    for name, text in FILES.items():
        (project / name).write_text(text)
    whole = {"provider": "cloud", "device": "qulacs", "description": "a pair", **job}
    (project / "exp.yaml").write_text(json.dumps({"name": "exp", "jobs": {"job": whole}}))
    done = subprocess.run(
        [sys.executable, "-m", "qrun", "apply", "--yes", "exp.yaml"],
        cwd=project,
        env={"HOME": str(home), "PATH": os.environ.get("PATH", "")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
