"""`spillway cost-report`: the answer of a gateway as a table."""

import json

import pytest
from test_admin_client import answering, refusal

from spillway.cli.main import main

ROW = {
    "key": "team-a", "requests": 1200, "input_tokens": 34_000, "output_tokens": 5, "cached_tokens": 0,
    "cost_usd": 1234.5, "estimated_usd": 0.0, "margin_usd": 0.0,
}  # fmt: skip
ANSWER = {"by": "key", "source": "state file", "rows": [ROW, {**ROW, "key": ""}], "total_usd": 2469.0}


@pytest.fixture
def report(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPILLWAY_ADMIN_KEY", "adm")

    def run(*args, status=200, answer=ANSWER):
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        with answering(status, body) as (port, asked), pytest.raises(SystemExit) as ended:
            main(["cost-report", "--url", f"http://127.0.0.1:{port}", *args])
        out, err = capsys.readouterr()
        return ended.value.code, out, err, asked

    return run


def test_a_table_with_a_total(report):
    code, out, _, asked = report("--by", "key", "--since", "2026-01-01")
    assert code == 0
    assert asked[0][1:3] == ("/admin/costs?by=key&since=2026-01-01", "Bearer adm")
    heading, first, second, total = (line.split() for line in out.splitlines())
    assert heading == ["key", "requests", "input", "tokens", "output", "tokens", "cached", "USD"]
    assert first == ["team-a", "1,200", "34,000", "5", "0", "1,234.500000"]
    assert second[0] == "-"
    assert total == ["total", "2,400", "68,000", "10", "0", "2,469.000000"]


def test_what_is_estimated_and_what_is_set_aside_is_told_where_there_is_any(report):
    row = {**ROW, "estimated_usd": 0.5, "margin_usd": 0.25}
    _, out, _, _ = report("--by", "key", answer={**ANSWER, "rows": [row]})
    assert "of it estimated  margin" in out
    assert "0.500000         0.250000" in out


def test_json_is_the_answer_itself(report):
    code, out, _, _ = report("--by", "key", "--json")
    assert (code, json.loads(out)) == (0, ANSWER)


def test_what_goes_wrong_is_one_line(report):
    code, out, err, _ = report(status=401, answer=refusal("the admin key is not valid"))
    assert (code, out) == (2, "")
    assert "refuses: the admin key is not valid" in " ".join(err.split())
    assert "adm " not in err
