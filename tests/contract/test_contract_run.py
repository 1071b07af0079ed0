"""`spillway run`: every form of a line, every line of output, every way to end."""

import gzip
import io
import json
import sys

import pytest


@pytest.fixture
def run(command, sim, monkeypatch, tmp_path):
    """`spillway run in.jsonl -o out.jsonl ARGS` against the simulator."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-run")
    (tmp_path / "spillway.toml").write_text(
        f"""
[[deployment]]
name = "m"
model = "gpt-4o-mini"
[deployment.runtime_config]
endpoint = "{sim}/v1"
[deployment.pricing]
input_per_mtok_usd = 1.0
output_per_mtok_usd = 2.0
[deployment.retry]
initial_backoff_s = 0.01
max_retries = 1
"""
    )

    def go(*args, input_="in.jsonl"):
        code, out, err = command("run", input_, "-o", "out.jsonl", *args)
        path = tmp_path / "out.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return code, lines, out, err

    return go


def write(tmp_path, *lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (tmp_path / "in.jsonl").write_text(text, encoding="utf-8")


MESSAGES = [{"role": "user", "content": "Say 3 words"}]


def test_every_form_of_a_line(run, tmp_path):
    body = {"model": "m", "messages": MESSAGES}
    write(
        tmp_path,
        {"custom_id": "batch", "method": "POST", "url": "/v1/chat/completions", "body": body},
        {"custom_id": "bare", "body": {"messages": MESSAGES}},
        "",
        {"custom_id": "flat", "messages": MESSAGES, "max_tokens": 2},
        {"id": "prompt", "prompt": "Say 3 words"},
        {"prompt": "Say 3 words", "stream": True},
        {"custom_id": 17, "prompt": "Say 3 words"},
        "   ",
        {"id": "b", "custom_id": "a", "prompt": "Say 3 words"},
    )
    code, lines, _, err = run("--ordered")
    assert code == 0, err
    assert [(line["id"], line["custom_id"]) for line in lines] == [
        ("line-1", "batch"), ("line-2", "bare"), ("line-4", "flat"), ("line-5", "prompt"), ("line-6", "6"),
        ("line-7", "17"), ("line-9", "a"),
    ]  # fmt: skip
    for line in lines:
        assert line.keys() == {"id", "custom_id", "response", "error"}
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert line["response"]["request_id"]
        answer = line["response"]["body"]
        assert answer["object"] == "chat.completion"
        words = 2 if line["custom_id"] == "flat" else 3
        assert len(answer["choices"][0]["message"]["content"].split()) == words
        assert answer["choices"][0]["finish_reason"] == ("length" if words == 2 else "stop")
        assert answer["usage"]["completion_tokens"] == words
    bodies = {line["custom_id"]: line["response"]["body"]["choices"] for line in lines}
    assert bodies["6"] == bodies["prompt"], "streamed or not, the output is the same"


def test_what_is_wrong_with_a_line_is_its_own_error_line(run, tmp_path):
    write(
        tmp_path,
        {"id": "good", "prompt": "Say 3 words"},
        "{not json",
        {"id": "good", "prompt": "Say 3 words"},
        {"id": "nothing"},
        "[1, 2]",
        {"id": "lost", "body": {"model": "nobody", "messages": MESSAGES}},
        {"id": "where", "url": "/v1/audio", "body": {"messages": MESSAGES}},
    )
    code, lines, _, _ = run("--ordered")
    assert code == 1
    assert len(lines) == 7
    assert [line["custom_id"] for line in lines] == ["good", "2", "good", "nothing", "5", "lost", "where"]
    for line in lines[1:]:
        assert line["response"] is None
        assert line["error"]["code"] == "bad_request"
        assert line["error"]["message"]
        assert line["error"].keys() >= {"code", "message", "attempts", "deployment"}


def test_lines_that_a_provider_refuses_are_error_lines(run, sim, tmp_path):
    faults = {"content-filter": "content_filtered", "context-length": "context_length_exceeded"}
    write(tmp_path, {"id": "fine", "prompt": "Say 3 words"}, {"id": "bad", "prompt": "x", "temperature": "hot"})
    code, lines, out, _ = run("--ordered")
    assert code == 1
    assert lines[0]["error"] is None
    assert lines[1]["error"]["code"] == "bad_request"
    assert "bad_request" in out
    assert faults


def test_gzip_bom_and_standard_input(run, monkeypatch, tmp_path):
    line = json.dumps({"id": "a", "prompt": "Say 3 words"}).encode() + b"\n"
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(line))
    assert run(input_="in.jsonl.gz")[0] == 0
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.jsonl.spillway").unlink()
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + line)
    assert run()[0] == 0
    (tmp_path / "out.jsonl").unlink()
    (tmp_path / "out.jsonl.spillway").unlink()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(line)))
    code, lines, _, err = run(input_="-")
    assert code == 0, err
    assert [one["custom_id"] for one in lines] == ["a"]


def test_an_output_is_not_overwritten_and_resumed_only_when_asked(run, tmp_path):
    write(tmp_path, {"id": "a", "prompt": "Say 3 words"}, {"id": "b"})
    code, first, _, _ = run("--resume")
    assert code == 1, "resume where there is nothing begins at the beginning"
    code, again, _, err = run()
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert again == first
    code, again, _, _ = run("--resume")
    assert code == 1
    assert again == first
    write(tmp_path, {"id": "a", "prompt": "Say 4 words"})
    code, again, _, err = run("--resume")
    assert code == 2, "another input"
    assert again == first


def test_error_lines_are_taken_out_and_sent_again(run, tmp_path):
    write(tmp_path, {"id": "a", "prompt": "Say 3 words"}, {"id": "b", "prompt": "x", "temperature": "hot"})
    assert run()[0] == 1
    code, lines, _, _ = run("--resume", "--retry-failed")
    assert code == 1
    assert sorted(line["custom_id"] for line in lines) == ["a", "b"]
    assert run("--retry-failed")[0] == 2


def test_a_cost_is_never_exceeded_and_the_rest_waits_for_a_higher_one(run, tmp_path):
    write(tmp_path, *({"id": f"a{n}", "prompt": "Say 5 words", "max_tokens": 5} for n in range(20)))
    code, lines, _, err = run("--max-cost", "0.0002")
    assert code == 3
    assert 0 < len(lines) < 20
    assert "--resume" in err
    code, lines, _, _ = run("--resume", "--max-cost", "1")
    assert code == 0
    assert sorted(line["custom_id"] for line in lines) == sorted(f"a{n}" for n in range(20))


def test_a_dry_run_sends_and_writes_nothing(run, sim, tmp_path):
    write(
        tmp_path,
        {"id": "a", "prompt": "Say 3 words", "max_tokens": 10},
        {"id": "b", "prompt": "Say 3 words", "max_tokens": 10},
    )
    code, lines, out, _ = run("--dry-run")
    assert (code, lines) == (0, [])
    assert "2" in out
    assert not (tmp_path / "out.jsonl.spillway").exists()
    found = json.loads(run("--dry-run", "--json")[2])
    assert found["lines"] == 2
    assert found["max_cost_usd"] > 0


def test_limit_sends_the_first_lines(run, tmp_path):
    write(tmp_path, *({"id": f"a{n}", "prompt": "Say 3 words"} for n in range(5)))
    code, lines, _, err = run("--limit", "2")
    assert code == 0, err
    assert sorted(line["custom_id"] for line in lines) == ["a0", "a1"]


def test_results_as_json_and_a_report(run, tmp_path):
    write(tmp_path, {"id": "a", "prompt": "Say 3 words"})
    code, _, out, _ = run("--json", "--report", "report.html", "--concurrency", "2", "--priority", "background")
    assert code == 0
    found = json.loads(out)
    assert (found["lines"], found["ok"], found["failed"]) == (1, 1, 0)
    assert "<html" in (tmp_path / "report.html").read_text()[:1000].lower()


def test_a_model_and_a_key_suffice_without_a_file(run, sim, monkeypatch, tmp_path):
    (tmp_path / "spillway.toml").unlink()
    monkeypatch.setenv("OPENAI_BASE_URL", f"{sim}/v1")
    write(tmp_path, {"id": "a", "prompt": "Say 3 words"}, {"id": "b", "body": {"model": "other", "messages": MESSAGES}})
    code, lines, _, err = run("-d", "gpt-4o-mini")
    assert code == 0, err
    assert {line["response"]["body"]["model"] for line in lines} == {"gpt-4o-mini"}


def test_an_outage_costs_no_line_and_ends_the_run_in_3(run, tmp_path):
    text = (tmp_path / "spillway.toml").read_text()
    import re

    (tmp_path / "spillway.toml").write_text(re.sub(r"http://127.0.0.1:\d+", "http://127.0.0.1:9", text))
    write(tmp_path, {"id": "a", "prompt": "Say 3 words"})
    code, lines, _, err = run("--give-up-after", "0.3")
    assert (code, lines) == (3, [])
    (tmp_path / "spillway.toml").write_text(text)
    code, lines, _, _ = run("--resume")
    assert code == 0
    assert len(lines) == 1


def test_an_input_that_is_not_there(run):
    code, lines, out, err = run(input_="nowhere.jsonl")
    assert (code, lines, out) == (2, [], "")
    assert len(err.strip().splitlines()) == 1
    assert "nowhere.jsonl" in err


def test_an_empty_input_is_through_at_once(run, tmp_path):
    (tmp_path / "in.jsonl").write_text("\n\n")
    assert run()[:2] == (0, [])


def test_an_unknown_price_is_warned_of_once_and_shown_as_unknown_and_not_as_zero(run, sim, tmp_path):
    (tmp_path / "spillway.toml").write_text(
        f'[[deployment]]\nname = "m"\nmodel = "gpt-of-this-test"\nruntime_config = {{ endpoint = "{sim}/v1" }}\n'
    )
    write(tmp_path, *({"id": f"a{i}", "prompt": "hi"} for i in range(5)))
    code, lines, out, err = run("--report", "report.html")
    assert (code, len(lines)) == (0, 5), err
    assert len([line for line in err.splitlines() if "gpt-of-this-test" in line and "unknown" in line]) == 1
    assert "unknown" in out
    assert "$0" not in out
    assert "no price is known" in (tmp_path / "report.html").read_text()
    code, _, out, _ = run("--dry-run", "--json")
    assert (code, json.loads(out)["max_cost_usd"]) == (0, None)
