"""An input of many files, and of Parquet: the same numbered lines at every reading."""

import datetime as dt
import decimal
import gzip
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spillway.batch.lines import parse_line
from spillway.batch.source import InputChangedError, Source
from spillway.core.errors import ConfigError


def read(path, **more):
    source = Source(str(path), path.parent, **more)
    try:
        about = source.fingerprint()
        return about, list(source.lines(about))
    finally:
        source.close()


def parquet(path, rows, schema=None):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "b.jsonl").write_bytes(b"\xef\xbb\xbf{3}\n")
    (folder / "a.jsonl").write_bytes(b"{1}\n\n{2}")
    (folder / "deep" / "c.jsonl.gz").write_bytes(gzip.compress(b"{4}\n"))
    for ignored in ("notes.txt", "_temporary.jsonl", ".hidden.jsonl"):
        (folder / ignored).write_text("no")
    about, lines = read(folder)
    assert lines == [(1, b"{1}\n"), (3, b"{2}"), (4, b"{3}\n"), (5, b"{4}\n")]
    assert (about.lines, about.requests) == (5, 4)


def test_the_fingerprint_of_a_folder_tells_where_a_line_stands(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text("{1}\n{2}\n")
    before, _ = read(folder)
    assert read(folder)[0] == before
    (folder / "a.jsonl").write_text("{1}\n")
    (folder / "b.jsonl").write_text("{2}\n")
    assert read(folder)[0].digest != before.digest


def test_a_file_that_comes_into_the_folder_meanwhile_is_told(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "b.jsonl").write_text("{2}\n")
    source = Source(str(folder), tmp_path)
    about = source.fingerprint()
    (folder / "a.jsonl").write_text("{1}\n")
    with pytest.raises(InputChangedError):
        list(source.lines(about))


@pytest.mark.parametrize(
    ("output", "refused"),
    [("in/out.jsonl", True), ("in/deep/out.jsonl", True), ("in/out", False), ("out.jsonl", False)],
)
def test_an_output_in_the_folder_is_refused_where_it_would_be_read(tmp_path, output, refused):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text("{1}\n")
    if refused:
        with pytest.raises(ConfigError, match="put it elsewhere"):
            Source(str(tmp_path / "in"), tmp_path, output=tmp_path / output)
    else:
        Source(str(tmp_path / "in"), tmp_path, output=tmp_path / output).close()


def test_a_folder_without_an_input_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no file in it that ends in \.jsonl"):
        Source(str(tmp_path), tmp_path)


def test_columns_of_parquet_are_the_fields_of_lines(tmp_path):
    chat = [{"role": "user", "content": "hi"}]
    parquet(
        tmp_path / "in.parquet",
        [
            {"custom_id": "a", "prompt": "say a", "max_tokens": 5},
            {"custom_id": "b", "messages": json.dumps(chat), "temperature": 0.5},
            {"id": 7, "model": "m", "prompt": "[1, 2]"},
        ],
        pa.schema(
            [
                ("custom_id", pa.string()),
                ("id", pa.int64()),
                ("model", pa.string()),
                ("prompt", pa.string()),
                ("messages", pa.string()),
                ("max_tokens", pa.int32()),
                ("temperature", pa.float64()),
            ]
        ),
    )
    about, raws = read(tmp_path / "in.parquet")
    assert about.requests == 3
    first, second, third = [parse_line(raw, number) for number, raw in raws]
    assert (first.custom_id, first.request.max_tokens) == ("a", 5)
    assert first.request.messages == ({"role": "user", "content": "say a"},)
    assert (second.custom_id, list(second.request.messages), second.request.temperature) == ("b", chat, 0.5)
    # A prompt is text, whatever it looks like.
    assert (third.custom_id, third.model, third.request.messages[0]["content"]) == ("7", "m", "[1, 2]")


def test_nested_columns_of_parquet_have_no_null_fields(tmp_path):
    rows = [
        {"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi", "name": "x"}]},
        {"messages": [{"role": "user", "content": None}]},
    ]
    parquet(tmp_path / "in.parquet", rows)
    _, raws = read(tmp_path / "in.parquet")
    assert [json.loads(raw) for _, raw in raws] == [
        rows[0],
        {"messages": [{"role": "user"}]},
    ]


def test_values_that_json_does_not_know_become_text(tmp_path):
    when = dt.timedelta(days=1)
    parquet(tmp_path / "in.parquet", [{"prompt": b"\x01", "asked": when, "price": decimal.Decimal("0.10")}])
    _, [(_, raw)] = read(tmp_path / "in.parquet")
    assert json.loads(raw) == {"prompt": "AQ==", "asked": "P1D", "price": "0.10"}


def test_a_damaged_parquet_file_is_refused(tmp_path):
    (tmp_path / "in.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(ConfigError, match="can't be read to its end"):
        read(tmp_path / "in.parquet")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    parquet(tmp_path / "in.parquet", [{"prompt": "x"}])
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'spillway\[ray\]'"):
        Source(str(tmp_path / "in.parquet"), tmp_path)
