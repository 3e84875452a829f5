"""Templates: what they may do, what they may not, and that nothing they do reaches further than their own value."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrun.manifest.template import Fault, Limits, Renderer, is_template

VARS = {"vars": {"items": 3, "keys": "k", "omega": 0.5, "angles": [0.1, 0.2], "deep": {"list": [{"x": 1}]}}}
QUICK = Limits(cpu=0.3, wall=20.0, a_value=0.0, a_template=0.0)

FILTERS = (
    "abs, batch, capitalize, center, count, d, default, dictsort, first, float, format, groupby, int, items, join, "
    "last, length, list, lower, map, max, min, reject, rejectattr, replace, reverse, round, select, selectattr, slice, "
    "sort, string, sum, title, tojson, trim, truncate, unique, upper, wordcount"
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as one:
        yield one


def fill(renderer: Renderer, template: str, *, text: bool = False, **context: Any) -> Any:
    (value,) = renderer.fill([template], VARS, [context], [(0, 0)], text=text)
    return value


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ vars.omega }}", 0.5),
        ("{{ vars.omega * 2 }}", 1.0),
        ("{{ 2 ** 10 }}", 1024),
        ("{{ 7 // 2 }}", 3),
        ("{{ vars.angles }}", [0.1, 0.2]),
        ("{{ vars.deep.list[0].x }}", 1),
        ("{{ vars.deep.list[0] }}", {"x": 1}),
        ("{{ vars['omega'] }}", 0.5),
        ("{{ true }}", True),
        ("{{ none }}", None),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ vars.angles | map('string') }}", ["0.1", "0.2"]),
        ("{{ vars.angles | select('gt', 0.15) }}", [0.2]),
        ("{{ 'a,b'.split(',') }}", ["a", "b"]),
        ("{{ '%.3f' % vars.omega }}", "0.500"),
        ("{{ '{:>5}'.format('x') }}", "    x"),
        ("{{ 'x' | center(5) }}", "  x  "),
        ("{{ {'b': 'ä', 'a': [1]} | tojson }}", '{"a": [1], "b": "ä"}'),
        ("{{ missing | default(4) }}", 4),
        ("{{ '}}' }}", "}}"),
        ("{{- vars.omega -}}", 0.5),
        ("{{ vars.omega if vars.omega > 0 else 'none' }}", 0.5),
    ],
)
def test_one_expression_keeps_its_type(renderer: Renderer, template: str, value: Any) -> None:
    found = fill(renderer, template)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("omega-{{ vars.omega }}", "omega-0.5"),
        ("{{ 1 }}{{ 2 }}", "12"),
        (" {{ 1 }}", " 1"),
        ("{{ 1 }}\n", "1\n"),
        ("{% if vars.omega > 1 %}big{% else %}small{% endif %}", "small"),
        (
            "{% for i in range(3) %}rz({{ i }}) q[{{ loop.index0 }}];\n{% endfor %}",
            "rz(0) q[0];\nrz(1) q[1];\nrz(2) q[2];\n",
        ),
        ("{# nothing #}{{ 1 }}", "1"),
        ("{% macro h(q) %}h q[{{ q }}];{% endmacro %}{{ h(0) }}{{ h(1) }}", "h q[0];h q[1];"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
        ("{{ '<&>' }}!", "<&>!"),
    ],
)
def test_everything_else_makes_text(renderer: Renderer, template: str, value: str) -> None:
    assert fill(renderer, template) == value


def test_a_program_is_text_even_where_it_is_one_expression(renderer: Renderer) -> None:
    assert fill(renderer, "{{ 5 }}", text=True) == "5"
    assert fill(renderer, "x {{ vars.omega }}\r\ny\n", text=True) == "x 0.5\ny\n"


def test_what_a_template_made_is_not_filled_in_again(renderer: Renderer) -> None:
    assert fill(renderer, "{{ '{{' }} 1 {{ '}}' }}") == "{{ 1 }}"


def test_a_variable_stands_before_a_method_of_the_same_name(renderer: Renderer) -> None:
    assert fill(renderer, "{{ vars.items }}") == 3
    assert fill(renderer, "{{ vars.keys }}") == "k"
    assert fill(renderer, "{{ vars.deep.items() | first | first }}") == "list"


def test_a_jobs_own_values_stand_before_the_shared_ones(renderer: Renderer) -> None:
    values = renderer.fill(
        ["{{ matrix.n }}", "{{ vars.omega }}-{{ matrix.n }}"],
        VARS,
        [{"matrix": {"n": 1}}, {"matrix": {"n": 2}, "vars": {"omega": 9}}],
        [(1, 1), (0, 0), (1, 0), (0, 1), (0, 0)],
    )

    assert values == ["9-2", 1, "0.5-1", 2, 1]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{ nope }}", "nope"),
        ("{{ vars.angels }}", "vars.angels"),
        ("{{ vars.deep.list[0].y }}", "vars.deep.list[0].y"),
        ("{{ vars.angles[7] }}", "vars.angles[7]"),
        ("{{ vars['omga'] }}", "vars.omga"),
        ("{{ nope.further }}", "nope"),
        ("{{ matrix.omega * 2 }}", "matrix"),
        ("a {{ vars.angels }}", "vars.angels"),
        ("{{ [vars.angels] }}", "vars.angels"),
        ("{{ vars.pop }}", "vars.pop"),
        ("{{ cycler }}", "cycler"),
        ("{{ joiner() }}", "joiner"),
        ("{{ lipsum() }}", "lipsum"),
        ("{{ namespace(a=1) }}", "namespace"),
    ],
)
def test_an_undefined_name_is_a_fault_that_names_it_in_full(renderer: Renderer, template: str, name: str) -> None:
    assert fill(renderer, template) == Fault(f'"{name}" is not defined', 1, name)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ ''.__class__.__mro__ }}", 'templates may not use "__class__"'),
        ("{{ ''['__class__'] }}", 'templates may not use "__class__"'),
        ("{{ vars.angles.__class__.__base__.__subclasses__() }}", 'templates may not use "__class__"'),
        ("{{ vars.angles.append(1) }}", 'templates may not use "append"'),
        ("{{ vars.__init__.__globals__ }}", 'templates may not use "__init__"'),
        ("{{ self.__init__ }}", 'templates may not use "__init__"'),
        ("{{ range.__globals__ }}", '"__globals__" is not defined'),
        ("{{ range.call }}", 'templates may not use "call"'),
        ("{{ '{0.__class__}'.format(1) }}", 'templates may not use "__class__"'),
        ("{{ '{0[__class__]}'.format('x') }}", 'templates may not use "__class__"'),
        ("{{ '{x.__class__}'.format_map({'x': 1}) }}", 'templates may not use "format_map"'),
        ("{{ vars.angles | map(attribute='__class__') | list }}", 'templates may not use "__class__"'),
        ("{{ (vars.angles | map('float')).gi_frame }}", '"gi_frame" is not defined'),
        ("{% for i in [1] %}{{ loop.__class__ }}{% endfor %}", 'templates may not use "__class__"'),
        ("{% macro m() %}{% endmacro %}{{ m._func }}", '"_func" is not defined'),
        ("{{ '' | attr('__class__') }}", f'there is no filter "attr" in templates; there are {FILTERS}'),
        ("{{ [1] | map('attr', '__class__') | list }}", f'there is no filter "attr" in templates; there are {FILTERS}'),
        ("{{ [1, 2] | random }}", f'there is no filter "random" in templates; there are {FILTERS}'),
        ("{{ 1 | pprint }}", f'there is no filter "pprint" in templates; there are {FILTERS}'),
        ("{% include '/etc/passwd' %}", '"include" is not available: a template is one text of its own'),
        ("{% import 'x' as x %}", '"import" is not available: a template is one text of its own'),
        ("{% from 'x' import y %}", '"from" is not available: a template is one text of its own'),
        ("{% extends 'x' %}", '"extends" is not available: a template is one text of its own'),
        ("{% block b %}{% endblock %}", '"block" is not available: a template is one text of its own'),
    ],
)
def test_there_is_no_way_out_of_the_sandbox(renderer: Renderer, template: str, message: str) -> None:
    found = fill(renderer, template)

    assert isinstance(found, Fault)
    assert (found.message, found.line) == (message, 1)


@pytest.mark.parametrize(
    "template",
    [
        "{{ vars.get }}",
        "{{ vars.get ~ '' }}",
        "{{ vars.get | string }}",
        "{{ [vars.get] | join(',') }}",
        "{{ 'x{}'.format(vars.get) }}",
        "{{ '%s' % vars.get }}",
        "{{ '%s' | format(vars.get) }}",
        "{{ [vars.get] }}",
        "{{ {'a': range} }}",
        "x {{ vars.get }}",
        "x {{ [[vars.get]] }}",
    ],
)
def test_a_function_has_no_text_because_that_would_be_another_one_each_time(renderer: Renderer, template: str) -> None:
    message = "the value is a function: write its arguments behind it, in parentheses"

    assert fill(renderer, template) == Fault(message, 1)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 1 / 0 }}", "the template fails: division by zero"),
        ("{{ 'a' + 1 }}", 'the template fails: can only concatenate str (not "int") to str'),
        ("{{ 1e999 }}", "the value is inf, which is not a number that can be written down"),
        ("{{ 1e308 * 10 }}", "the value is inf, which is not a number that can be written down"),
        ("{{ 'nan' | float }}", "the value is nan, which is not a number that can be written down"),
        ("{{ {1: 2} }}", "the key 1 of a map is not text"),
        ("{{ {none: 2} }}", "a key of a map is not text"),
        (
            "{{ self }}",
            "the value is an object (TemplateReference), not text, a number, a truth value, a list or a map",
        ),
        ("{{ '\\ud800' }}", "the text holds half a character (a lone surrogate)"),
        ("{{ 1 +", 'the template cannot be read: unexpected "end of template"'),
        ("{{ 1 2 }}", 'the template cannot be read: expected token "end of print statement", got "integer"'),
        ("{% if %}", 'the template cannot be read: expected an expression, got "end of statement block"'),
        ("{% nonsense %}", 'the template cannot be read: encountered unknown tag "nonsense"'),
    ],
)
def test_what_goes_wrong_is_said_in_words(renderer: Renderer, template: str, message: str) -> None:
    assert fill(renderer, template) == Fault(message, 1)


def test_a_fault_tells_its_line_in_the_templates_text(renderer: Renderer) -> None:
    found = renderer.fill(
        ["a\n{{ vars.omega }}\n{{ vars.nope }}", "a\nb\n\n{{ 1 / 0 }}", "a\n{% if %}", "\n\n{% include 'x' %}"],
        VARS,
        [{}],
        [(index, 0) for index in range(4)],
    )

    assert [fault.line for fault in found] == [3, 4, 2, 3]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 9 ** (9 ** 9) }}", "the number is too large"),
        ("{{ 2 ** 100000 }}", "the number is too large"),
        ("{{ 'x' * 10 ** 9 }}", "the value is larger than 4 MiB"),
        ("{{ 10 ** 9 * [0] }}", "the value is larger than 4 MiB"),
        ("{{ [[[[0] * 100] * 100] * 100] * 100 }}", "the value is larger than 4 MiB"),
        ("{{ range(10 ** 9) }}", "the range has more than 100000 numbers"),
        ("{{ range(10 ** 30) | list }}", "the range has more than 100000 numbers"),
        ("{{ '%1000000000d' % 1 }}", "the format is wider than 999 characters"),
        ("{{ '%*d' % (1000000000, 1) }}", "the format is wider than 999 characters"),
        ("{{ '%.1000000000f' | format(1.5) }}", "the format is wider than 999 characters"),
        ("{{ '{:1000000000}'.format(1) }}", "the format is wider than 999 characters"),
        ("{{ '{:{}}'.format(1, 1000000000) }}", "the template needs too much memory and was stopped"),
        ("{{ 'x' | center(10 ** 9) }}", "center pads to at most 1000 characters"),
        ("{% for i in range(99999) %}{{ 'x' * 100 }}{% endfor %}", "the value is larger than 4 MiB"),
        (
            "{% set x = 'xx' %}" + "{% set x = x ~ x %}" * 40 + "{{ x }}",
            "the template needs too much memory and was stopped",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "the template is nested too deep"),
        ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "the template is nested too deep"),
    ],
)
def test_what_would_exhaust_the_machine_is_stopped_and_the_next_template_works(
    renderer: Renderer, template: str, message: str
) -> None:
    bad, good = renderer.fill([template, "{{ vars.omega }}"], VARS, [{}], [(0, 0), (1, 0)])

    assert isinstance(bad, Fault)
    assert bad.message == message
    assert good == 0.5


LOOP = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize("template", [LOOP, "{{ 1.5 | round(10 ** 8, 'ceil') }}"])
def test_a_template_that_takes_too_long_is_stopped_and_named(template: str) -> None:
    with Renderer(QUICK) as renderer:
        values = renderer.fill(["{{ 1 }}", template], {}, [{}, {}], [(0, 0), (1, 0), (0, 1), (1, 1)])

        assert values == [
            1,
            Fault("the template took longer than 0.3 s and was stopped", 1),
            Fault("was not filled in, because another template took longer than 0.3 s and was stopped"),
            Fault("the template took longer than 0.3 s and was stopped", 1),
        ]
        assert renderer.fill(["{{ 2 }}"], {}, [{}], [(0, 0)]) == [2]


def test_a_child_that_does_not_answer_is_killed_and_a_new_one_started_for_the_next_fill() -> None:
    with Renderer(Limits(cpu=100.0, wall=0.2, a_value=0.0, a_template=0.0)) as renderer:
        values = renderer.fill([LOOP, "{{ 1 }}"], {}, [{}], [(0, 0), (1, 0)])

        assert values == [Fault("the template took longer than 0.2 s and was stopped")] * 2

    with Renderer() as renderer:
        assert renderer.fill(["{{ 2 }}"], {}, [{}], [(0, 0)]) == [2]


def test_all_values_together_are_limited_too() -> None:
    with Renderer(Limits(total=10 << 20)) as renderer:
        values = renderer.fill(["{{ 'y' * 4000000 }}"], {}, [{}] * 4, [(0, index) for index in range(4)])

    assert values[:2] == ["y" * 4000000] * 2
    assert values[2:] == [Fault("the values are larger than 10 MiB together")] * 2


def test_values_that_do_not_fit_into_the_process_are_faults_and_not_its_silent_end(renderer: Renderer) -> None:
    values = renderer.fill(["{{ vars.a | length }}"], {"vars": {"a": "x" * (200 << 20)}}, [{}], [(0, 0)])

    assert values == [Fault("the templates and their values need too much memory")]
    assert fill(renderer, "{{ 1 }}") == 1


def test_many_large_values_go_both_ways_without_a_standstill(renderer: Renderer) -> None:
    overlays = [{"matrix": {"text": f"{index}-" + "ü" * 500}} for index in range(10_000)]
    pairs = [(template, index) for template in (0, 1) for index in range(10_000)]

    values = renderer.fill(["{{ matrix.text }}", "<{{ matrix.text }}>"], VARS, overlays, pairs)

    assert values[:10_000] == [overlay["matrix"]["text"] for overlay in overlays]
    assert values[10_000:] == [f"<{overlay['matrix']['text']}>" for overlay in overlays]


def test_equal_templates_are_compiled_once_and_all_get_their_values(renderer: Renderer) -> None:
    templates = ["{{ matrix.n }}"] * 3 + ["{{ matrix.m }}"]

    values = renderer.fill(templates, {}, [{"matrix": {"n": 1, "m": 2}}], [(index, 0) for index in range(4)])

    assert values == [1, 1, 1, 2]


def test_the_same_input_makes_the_same_output_in_another_process() -> None:
    templates = [
        "{{ vars | dictsort }}",
        "{{ ['b', 'a', 'b', 'c'] | unique }}",
        "{{ vars | tojson }}",
        "{% for k in vars %}{{ k }} {% endfor %}",
        "{{ vars.angles | groupby(0) if false else vars.keys }}",
    ]
    runs = []
    for _ in range(2):
        with Renderer() as renderer:
            runs.append(renderer.fill(templates, VARS, [{}], [(index, 0) for index in range(len(templates))]))

    assert runs[0] == runs[1]
    assert not [value for value in runs[0] if isinstance(value, Fault)]


def test_no_process_is_started_before_there_is_something_to_fill_in() -> None:
    with Renderer() as renderer:
        assert renderer.fill(["{{ 1 }}"], {}, [{}], []) == []
        assert renderer.child is None


def test_a_process_that_was_killed_between_two_fills_is_replaced() -> None:
    with Renderer() as renderer:
        renderer.fill(["{{ 1 }}"], {}, [{}], [(0, 0)])
        assert renderer.child is not None
        renderer.child.process.kill()
        os.waitid(os.P_PID, renderer.child.process.pid, os.WEXITED | os.WNOWAIT)

        assert renderer.fill(["{{ 2 }}"], {}, [{}], [(0, 0)]) == [2]


def test_the_process_is_gone_at_the_end() -> None:
    with Renderer() as renderer:
        renderer.fill(["{{ 1 }}"], {}, [{}], [(0, 0)])
        assert renderer.child is not None
        process = renderer.child.process

    assert process.poll() is not None


def test_the_process_sees_neither_the_environment_nor_the_folder_nor_open_files(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("looks into /proc")
    with (tmp_path / "open").open("w") as file, Renderer() as renderer:
        os.set_inheritable(file.fileno(), True)
        renderer.fill(["{{ 1 }}"], {}, [{}], [(0, 0)])
        assert renderer.child is not None
        about = f"/proc/{renderer.child.process.pid}"

        names = [entry.partition("=")[0] for entry in Path(f"{about}/environ").read_text().split("\0")]
        assert sorted(filter(None, names)) == ["PYTHONHASHSEED", "PYTHONUTF8"]
        assert sorted(os.listdir(f"{about}/fd")) == ["0", "1", "2"]
        assert os.readlink(f"{about}/cwd") == "/"
        limits = Path(f"{about}/limits").read_text()
        assert f"{320 << 20}" in next(line for line in limits.splitlines() if line.startswith("Max address space"))


def test_the_process_ends_when_its_parent_is_killed() -> None:
    script = (
        "import os, signal\n"
        "from qrun.manifest.template import Renderer\n"
        "renderer = Renderer()\n"
        "renderer.fill(['{{ 1 }}'], {}, [{}], [(0, 0)])\n"
        "print(renderer.child.process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    if not hasattr(os, "pidfd_open"):
        pytest.skip("waits for a process that is not its own")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True, check=False
    )

    try:
        process = os.pidfd_open(int(done.stdout))
    except ProcessLookupError:
        return
    ended, _, _ = select.select([process], [], [], 20)
    os.close(process)
    assert ended


@pytest.mark.parametrize(
    ("text", "answer"),
    [("plain", False), ("{{ x }}", True), ("{% if x %}", True), ("a {{", True), ("{x}", False), ("C{#1}", False)],
)
def test_braces_make_a_template(text: str, answer: bool) -> None:
    assert is_template(text) is answer


def test_neither_jinja_nor_the_event_loop_is_imported_by_the_parent() -> None:
    script = (
        "import sys\n"
        "from qrun.manifest.template import Renderer\n"
        "with Renderer() as renderer:\n"
        "    assert renderer.fill(['{{ 1 }}'], {}, [{}], [(0, 0)]) == [1]\n"
        "print(sorted({'jinja2', 'asyncio', 'yaml'} & set(sys.modules)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
