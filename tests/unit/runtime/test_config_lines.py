"""The line of every key, whatever shape it is written in."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.runtime.config_lines import line_index, line_of

TEXT = '''\
# [not.a.table]
top = 1
text = """
[not.a.table]
key = 1
"""
other = \'\'\'a
# no comment \'\'\'
dotted . "quo.ted" = "# no comment" # a comment
inline = { a = 1, b.c = [1,
  2], d = { e = "}" } }
list = [
  "x", # a ] comment
  [ "y", { z = 1 } ],
]

[table]
key = 1979-05-27 07:32:00
[table.below]
key = 1.5
[[array]]
key = 1
[array.sub]
key = 2
[[array]]
[[array.inner]]
key = 3
[[array.inner]]
key = 4
[ "spaced" . out ]
key = 5
'''

LINES = {
    ("top",): 2,
    ("text",): 3,
    ("other",): 7,
    ("dotted", "quo.ted"): 9,
    ("inline", "a"): 10,
    ("inline", "b", "c", 0): 10,
    ("list", 0): 13,
    ("list", 1, 1, "z"): 14,
    ("table",): 17,
    ("table", "key"): 18,
    ("table", "below", "key"): 20,
    ("array", 0): 21,
    ("array", 0, "key"): 22,
    ("array", 0, "sub"): 23,
    ("array", 0, "sub", "key"): 24,
    ("array", 1): 25,
    ("array", 1, "inner", 0, "key"): 27,
    ("array", 1, "inner", 1): 28,
    ("array", 1, "inner", 1, "key"): 29,
    ("spaced", "out", "key"): 31,
}


@pytest.mark.parametrize("path", LINES, ids=str)
def test_each_key_is_found_where_it_stands(path):
    assert line_index(TEXT)[path] == LINES[path]


def test_what_is_not_there_has_the_line_of_what_is_around_it():
    lines = {("a",): 3, ("a", "b"): 5}
    assert line_of(lines, ("a", "b", "c", 1)) == 5
    assert line_of(lines, ("a", "x")) == 3
    assert line_of(lines, ("x",)) == 1


def test_nesting_without_end_ends():
    assert line_index("a = " + "[" * 100_000) is not None


keys = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=5)
scalars = st.one_of(
    st.integers(-(2**62), 2**62),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20),
)
values = st.recursive(
    scalars, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(keys, v, max_size=3)), max_leaves=8
)


def quoted(text):
    return '"' + "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in text) + '"'


def written(value, draw):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {written(v, draw)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        blank = draw(st.sampled_from(["", "\n", " # ]\n"]))
        return "[" + "".join(f"{blank}{written(v, draw)},{blank}" for v in value) + "]"
    if isinstance(value, str):
        plain = "'" not in value and value.isprintable()
        return f"'''{value}'''" if plain and draw(st.booleans()) else quoted(value)
    return str(value).lower()


def paths(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from paths(child, (*path, key))


@given(st.data())
def test_every_path_of_any_text_has_the_line_that_it_stands_on(data):
    tables = data.draw(st.lists(st.tuples(keys, st.dictionaries(keys, values, max_size=3)), max_size=4))
    text, expected = "", {}
    for number, (name, table) in enumerate(tables):
        header = f"t{number}{name}"
        array = data.draw(st.booleans())
        at = (header, 0) if array else (header,)
        expected[at] = text.count("\n") + 1
        text += f"[[{quoted(header)}]]\n" if array else f"[{quoted(header)}] # x\n"
        for key, value in table.items():
            expected[*at, key] = text.count("\n") + 1
            text += f"{quoted(key)} = {written(value, data.draw)}\n"
    document = tomllib.loads(text)
    found = line_index(text)
    assert {path: found[path] for path in expected} == expected
    assert set(paths(document)) - {()} <= set(found)
