"""Nonsense in a project file is refused in one line, or means something; nothing else ever comes out."""

import re
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spillway.core.errors import ConfigError
from spillway.core.options import Deployment
from spillway.runtime.config import inspect, load
from spillway.runtime.config_deployments import deployment_tables
from spillway.runtime.config_tables import fields_of
from spillway.runtime.template import TEMPLATE

FULL = re.sub(r"^#(?=[a-z0-9_\[])", "", TEMPLATE, flags=re.MULTILINE)
KEYS = sorted({key for kind in deployment_tables().values() for key in fields_of(kind)} | set(fields_of(Deployment)))
SECRET = "hunter2hunter2"

literals = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.sampled_from(
        [
            "true",
            "nan",
            "-inf",
            "1979-05-27",
            "07:32:00",
            "[]",
            "{}",
            "''",
            "'full'",
            "[[]]",
            "[{}]",
            "{ from_env = 'A' }",
        ]
    ),
    st.sampled_from(
        ["{ from_env = '%s' }", "{ inline = ['%s'] }", "'%s'", "['%s']", "{ from_command = '%s' }", "{ a = '%s' }"]
    ).map(lambda shape: shape % SECRET),
    st.integers(20, 60).map(lambda n: "9" * n),
)
tables = st.sampled_from(
    ["[deployment.%s]" % name for name in deployment_tables()]
    + ["[defaults.%s]" % name for name in deployment_tables()]
    + [
        "[[deployment]]",
        "[cluster]",
        "[gateway]",
        "[[gateway.keys]]",
        "[defaults]",
        "[deployment]",
        "[[defaults.retry]]",
    ]
)
pairs = st.tuples(st.sampled_from([*KEYS, "bind", "store", "keys", "key", "nonsense"]), literals)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "spillway.toml"


def refused_in_one_line_or_fine(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    project, problems = inspect(path)
    assert (project is None) == bool(problems)
    for line in problems:
        assert re.match(rf"{re.escape(str(path))}:\d+: .", line), line
        assert line.isprintable(), line
    try:
        load(path)
    except ConfigError as error:
        assert str(error) == problems[0]
    else:
        assert not problems
        assert len(project.deployments) == len(tomllib.loads(path.read_text())["deployment"])
    return problems


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(tables, st.lists(pairs, max_size=3)), max_size=5))
def test_any_value_anywhere(path, blocks):
    text = "[[deployment]]\nname = 'gpt-4o'\n"
    for header, entries in blocks:
        text += header + "\n" + "".join(f"{key} = {value}\n" for key, value in dict(entries).items())
    for line in refused_in_one_line_or_fine(path, text):
        assert SECRET not in line or "[deployment] " in line, "only names may be quoted"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_the_whole_template_with_pieces_cut_out_and_put_in(path, data):
    text = FULL.encode()
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        text = (
            text[:start]
            + data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b'"', b"]", b"[[", b"=", b"\n"])))
            + text[end:]
        )
    refused_in_one_line_or_fine(path, text)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode(errors="ignore"))))
def test_any_bytes(path, content):
    assert refused_in_one_line_or_fine(path, content)
