"""What a run does with files: formats in, refusals, damage, full disks, locks."""

import asyncio
import gzip
import json
import os
import shutil

import pytest
from run_cli import config, prompts, world

from spillway.batch.sidecar import decode
from spillway.cli.main import main
from spillway.core.errors import ConfigError
from spillway.runtime.config import deployment_for_model


@pytest.fixture
async def here(tmp_path):
    async with world(tmp_path) as found:
        yield found


def chat(prompt, model="m", **more):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


async def test_every_form_of_a_line_is_answered_under_its_own_id(here):
    lines = [
        {"custom_id": "batch", "method": "POST", "url": "/v1/chat/completions", "body": chat("one")},
        {"custom_id": "plain", "messages": [{"role": "user", "content": "two"}], "temperature": 0.5},
        {"id": "short", "prompt": "three"},
        {"prompt": "four"},
        {"id": 17, "prompt": "five", "max_tokens": 3},
        {"id": "stream", "prompt": "six", "stream": True},
        {"id": "unstream", "prompt": "six"},
    ]
    text = "\n\n".join(json.dumps(line) for line in lines)
    here.input.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    found = await here.run()
    assert found.code == 0, found
    results = here.results()
    # The fourth stands on line 7, because blank lines count.
    assert set(results) == {"batch", "plain", "short", "7", "17", "stream", "unstream"}
    first = results["batch"]
    assert first["id"] == "line-1" and first["error"] is None
    assert first["response"]["status_code"] == 200 and first["response"]["request_id"]
    body = first["response"]["body"]
    assert body["object"] == "chat.completion" and body["model"] == "gpt-4o-mini" and body["created"] == 0
    assert body["choices"][0]["message"]["content"] and body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    cut = results["17"]["response"]["body"]
    assert cut["usage"]["completion_tokens"] == 3 and cut["choices"][0]["finish_reason"] == "length"
    said = [results[i]["response"]["body"]["choices"][0] for i in ("stream", "unstream")]
    assert said[0] == said[1]
    assert {r["id"] for r in results.values()} == {f"line-{n}" for n in (1, 3, 5, 7, 9, 11, 13)}


async def test_a_tool_call_and_fields_of_the_provider_pass(here):
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}
    here.input.write_text(json.dumps({"id": "t", "body": chat("call look_up", tools=[tool], user="u-1")}))
    found = await here.run()
    assert found.code == 0, found
    choice = here.results()["t"]["response"]["body"]["choices"][0]
    assert choice["finish_reason"] == "tool_calls" and choice["message"]["content"] is None
    assert choice["message"]["tool_calls"][0]["function"]["name"] == "look_up"


async def test_lines_that_embed(here):
    here.project(name="text-embedding-3-small")
    url = "/v1/embeddings"
    bodies = {
        "two": {"input": ["hello", "bye"], "dimensions": 4},
        "one": {"input": "hello", "dimensions": 4, "encoding_format": "base64", "stream": True},
        "numbers": {"input": [[1, 2, 3]]},
    }
    lines = [json.dumps({"custom_id": name, "url": url, "body": body}) for name, body in bodies.items()]
    here.input.write_text("\n".join(lines))
    found = await here.run("--max-cost", "1")
    assert found.code == 0, found
    results = {name: line["response"]["body"] for name, line in here.results().items()}
    assert {name: body["object"] for name, body in results.items()} == dict.fromkeys(bodies, "list")
    assert [row["index"] for row in results["two"]["data"]] == [0, 1]
    assert results["two"]["data"][0]["embedding"] == results["one"]["data"][0]["embedding"]
    assert results["numbers"]["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert here.sim.stats()["asked"] == 3


async def test_several_answers_to_one_line(here):
    here.input.write_text(json.dumps({"id": "a", "prompt": "Say 3 words", "n": 2}))
    found = await here.run()
    assert found.code == 0, found
    choices = here.results()["a"]["response"]["body"]["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert len({choice["message"]["content"] for choice in choices}) == 2


async def test_bad_lines_become_error_lines_and_nobody_is_asked(here):
    bad = [
        ("1", "{not json"),
        ("2", "[1]"),
        ("c", json.dumps({"id": "c"})),
        ("d", json.dumps({"id": "d", "prompt": "x", "max_tokens": "many"})),
        ("e", json.dumps({"custom_id": "e", "body": chat("x", model="mm")})),
        ("f", json.dumps({"custom_id": "f", "url": "/v1/images", "body": chat("x")})),
        ("g", json.dumps({"custom_id": "g", "method": "GET", "body": chat("x")})),
        ("8", json.dumps({"id": [1], "prompt": "x"})),
        ("i", json.dumps({"id": "i", "messages": []})),
        ("j", json.dumps({"id": "j", "prompt": "x", "n": 2, "stop": 3})),
        ("11", '{"id": "k", "prompt": ' + "[" * 5000 + "]" * 5000 + "}"),
        ("l", '{"id": "l", "prompt": "\xff"}'),
        ("m", json.dumps({"custom_id": "m", "url": "/v1/embeddings", "body": {"model": "m", "input": 3}})),
    ]
    good = json.dumps({"id": "good", "prompt": "x"})
    twice = json.dumps({"id": "good", "prompt": "y"})
    here.input.write_bytes("\n".join([*(text for _, text in bad), good, twice]).encode("latin-1"))
    found = await here.run("--json")
    assert found.code == 1, found
    lines = here.lines()
    assert len(lines) == 15
    by_line = {line["id"]: line for line in lines}
    for number, (custom_id, _) in enumerate(bad, 1):
        line = by_line[f"line-{number}"]
        assert line["custom_id"] == custom_id, line
        assert line["response"] is None
        assert line["error"]["code"] == "bad_request" and line["error"]["attempts"] == 0, line
    assert "did you mean 'm'?" in by_line["line-5"]["error"]["message"]
    assert by_line["line-14"]["error"] is None
    assert by_line["line-15"]["custom_id"] == "good"
    assert "an earlier line has the same id" in by_line["line-15"]["error"]["message"]
    assert here.sim.stats()["asked"] == 1
    assert found.json["errors"] == {"bad_request": 14}


async def test_a_duplicate_of_a_line_that_an_earlier_process_answered_is_one_too(here):
    here.input.write_text(prompts(3) + prompts(1))
    assert (await here.run("--limit", 3)).code == 0
    found = await here.run("--resume")
    assert found.code == 1, found
    assert [line["error"] and line["error"]["code"] for line in here.lines()] == [None] * 3 + ["bad_request"]


async def test_gzip_and_standard_input_are_read(here):
    (here.folder / "in.jsonl.gz").write_bytes(gzip.compress(prompts(20).encode()))
    found = await here.run(input_="in.jsonl.gz")
    assert found.code == 0, found
    expected = here.sorted_lines()
    here.forget()
    here.input.write_text(prompts(20))
    with here.input.open("rb") as file:
        found = await here.run("--limit", 5, input_="-", stdin=file)
    assert found.code == 0, found
    assert len(here.results()) == 5
    # The same text is the same input, whichever way it comes.
    found = await here.run("--resume", input_="in.jsonl.gz")
    assert found.code == 0, found
    assert here.sorted_lines() == expected
    here.forget()
    (here.folder / "in.jsonl.gz").write_bytes(gzip.compress(prompts(20).encode())[:-30])
    found = await here.run(input_="in.jsonl.gz")
    assert found.code == 2 and "can't be read to its end" in found.err
    assert not here.output.exists()


async def test_an_empty_input_is_through_at_once(here):
    here.input.write_text("\n \n")
    found = await here.run("--json")
    assert found.code == 0, found
    assert here.output.read_bytes() == b"" and found.json["lines"] == 0


async def test_a_model_needs_no_project_file(here):
    (here.folder / "spillway.toml").unlink()
    here.input.write_text(prompts(3))
    found = await here.run("-d", "gpt-4o-mini", OPENAI_BASE_URL=f"{here.sim.url}/v1")
    assert found.code == 0, found
    assert len(here.results()) == 3
    here.forget()
    found = await here.run("-d", "gpt-4o-mini", OPENAI_API_KEY="")
    assert found.code == 2 and "OPENAI_API_KEY is not set" in found.err
    found = await here.run()
    assert found.code == 2 and "name a model with -d" in found.err
    with pytest.raises(ConfigError):
        deployment_for_model("gpt-4o-mini", {})


async def test_a_line_names_its_deployment_and_d_overrides_it(here):
    here.project(config(here.sim.url) + config(here.sim.url, name="n").replace("gpt-4o-mini", "gpt-4o"))
    here.input.write_text(json.dumps({"id": "a", "body": chat("x")}) + "\n" + json.dumps({"id": "b", "prompt": "x"}))
    found = await here.run()
    assert found.code == 1, found
    results = here.results()
    assert results["a"]["response"]["body"]["model"] == "gpt-4o-mini"
    assert "names no model; one of: m, n" in results["b"]["error"]["message"]
    here.forget()
    found = await here.run("-d", "n")
    assert found.code == 0, found
    assert {r["response"]["body"]["model"] for r in here.results().values()} == {"gpt-4o"}
    here.forget()
    found = await here.run("-d", "nn")
    assert found.code == 2 and "did you mean 'n'?" in found.err
    assert not here.output.exists() and not here.sidecar.exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["in.jsonl", "-o", "out.jsonl", "--retry-failed"], "--retry-failed goes with --resume"),
        (["in.jsonl", "-o", "out.jsonl", "--max-cost", "-1"], "--max-cost"),
        (["in.jsonl", "-o", "out.jsonl", "--max-cost", "nan"], "--max-cost"),
        (["in.jsonl", "-o", "out.jsonl", "--give-up-after", "0"], "--give-up-after"),
        (["in.jsonl", "-o", "out.jsonl", "--priority", "urgent"], "background"),
        (["in.jsonl", "-o", "out.jsonl", "--concurrency", "0"], "--concurrency"),
        (["in.jsonl", "-o", "out.jsonl", "--report", "nowhere/r.html"], "--report"),
        (["in.jsonl", "-o", "out.jsonl", "-c", "none.toml"], "none.toml"),
        (["in.jsonl", "-o", "nowhere/out.jsonl"], "nowhere"),
        (["none.jsonl", "-o", "out.jsonl"], "none.jsonl"),
        ([".", "-o", "out.jsonl"], "is in the input's folder"),
        (["in.jsonl"], "-o OUTPUT is missing"),
    ],
)
def test_usage_errors_exit_2_before_anything_is_written(tmp_path, monkeypatch, capsys, args, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    (tmp_path / "in.jsonl").write_text(prompts(2))
    (tmp_path / "spillway.toml").write_text(config("http://127.0.0.1:9"))
    with pytest.raises(SystemExit) as ended:
        main(["run", *args])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert said in err.lower() or said in err
    assert sorted(os.listdir(tmp_path)) == ["in.jsonl", "spillway.toml"]


async def test_a_key_that_is_missing_is_noticed_before_anything_is_written(here):
    here.input.write_text(prompts(2))
    found = await here.run(OPENAI_API_KEY="")
    assert found.code == 2 and "OPENAI_API_KEY" in found.err, found
    assert not here.output.exists() and not here.sidecar.exists()


async def test_a_cap_without_a_price_is_refused(here):
    here.project(config(here.sim.url, prices=None).replace("gpt-4o-mini", "somebody/unheard-of-7b"))
    here.input.write_text(prompts(2))
    found = await here.run("--max-cost", 1)
    assert found.code == 2 and "[deployment.pricing]" in found.err, found
    assert not here.output.exists() and here.sim.stats()["asked"] == 0


async def test_an_output_that_is_there_is_not_overwritten(here):
    here.input.write_text(prompts(5))
    here.output.write_text("precious")
    found = await here.run()
    assert found.code == 2 and "exists; --resume" in found.err, found
    found = await here.run("--resume")
    assert found.code == 2 and "can't be resumed" in found.err, found
    assert here.output.read_text() == "precious" and not here.sidecar.exists()
    here.output.unlink()
    found = await here.run("--resume")
    assert found.code == 0, found
    before = here.output.read_bytes()
    assert (await here.run("--resume")).code == 0
    assert here.output.read_bytes() == before and here.sim.stats()["asked"] == 5


async def test_a_changed_input_is_refused(here):
    here.input.write_text(prompts(5))
    assert (await here.run("--limit", 2)).code == 0
    here.input.write_text(prompts(4) + prompts(1, start=7))
    found = await here.run("--resume")
    assert found.code == 2 and "begun with another input" in found.err, found
    assert len(here.results()) == 2


async def test_two_processes_on_one_output_are_kept_apart(tmp_path):
    async with world(tmp_path, latency_s=0.1) as here:
        here.input.write_text(prompts(200))
        first = here.spawn("--concurrency", 3)
        await here.written(5, first)
        for args in ([], ["--resume"], ["--resume", "--retry-failed"]):
            found = await here.run(*args)
            assert found.code == 2, found
            assert f"is in use by process {first.popen.pid}" in found.err
        first.kill()
        await first.end()
        # The lock of a process that is dead is free.
        found = await here.run("--resume")
        assert found.code == 0, found
        assert len(here.results()) == 200
        assert here.sim.stats()["asked"] <= 200 + 3


async def test_retry_failed_takes_the_errors_out_and_sends_them_again(here):
    here.input.write_text(prompts(30))
    here.sim.set_scenario({"phase": [{"fault": "content-filter", "p": 0.4}]})
    found = await here.run()
    assert found.code == 1, found
    good = [line for line in here.output.read_text().splitlines() if '"error":null' in line]
    assert 5 < len(good) < 25
    here.sim.set_scenario({})
    assert (await here.run("--resume")).code == 1
    asked = here.sim.stats()["asked"]
    assert asked == 30
    found = await here.run("--resume", "--retry-failed")
    assert found.code == 0, found
    text = here.output.read_text().splitlines()
    assert text[: len(good)] == good and len(here.results()) == 30
    assert here.sim.stats()["asked"] == 30 + (30 - len(good))
    assert sorted(os.listdir(here.folder)) == ["in.jsonl", "out.jsonl", "out.jsonl.spillway", "spillway.toml"]


async def test_retry_failed_of_an_ordered_run_keeps_the_order(here):
    here.input.write_text(prompts(30))
    here.sim.set_scenario({"phase": [{"fault": "content-filter", "p": 0.3}]})
    assert (await here.run("--ordered")).code == 1
    assert [line["custom_id"] for line in here.lines()] == [f"a{i}" for i in range(30)]
    here.sim.set_scenario({})
    # The order is a property of the file, so it need not be said again.
    found = await here.run("--resume", "--retry-failed")
    assert found.code == 0, found
    assert [line["custom_id"] for line in here.lines()] == [f"a{i}" for i in range(30)]
    assert all(line["error"] is None for line in here.lines())
    assert here.sim.stats()["asked"] < 60
    here.forget()
    assert (await here.run("--limit", 3)).code == 0
    found = await here.run("--resume", "--ordered")
    assert found.code == 2 and "without --ordered" in found.err


async def test_a_torn_last_line_of_either_file_is_repaired(here):
    here.input.write_text(prompts(10))
    assert (await here.run("--limit", 5)).code == 0
    with here.output.open("ab") as file:
        file.write(b'{"id":"line-6","custom_id":"a5","resp')
    with here.sidecar.open("ab") as file:
        file.write(b'{"t":"send","n":7,"pi')
    found = await here.run("--resume")
    assert found.code == 0, found
    assert len(here.results()) == 10 and here.sim.stats()["asked"] == 10
    for line in here.sidecar.read_bytes().splitlines():
        decode(line)


async def test_a_flipped_bit_stops_the_run_before_it_begins(here):
    here.input.write_text(prompts(6))
    assert (await here.run("--limit", 5)).code == 0
    for path in (here.output, here.sidecar):
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[len(content) // 2] ^= 0x10
        path.write_bytes(damaged)
        found = await here.run("--resume")
        assert found.code == 2, found
        assert path.name in found.err and "byte" in found.err, found
        assert path.read_bytes() == damaged
        path.write_bytes(content)
    assert (await here.run("--resume")).code == 0
    assert here.sim.stats()["asked"] == 6


async def test_lost_lines_are_sent_again_and_foreign_lines_are_refused(here):
    here.input.write_text(prompts(6))
    assert (await here.run()).code == 0
    lines = here.output.read_text().splitlines(keepends=True)
    here.output.write_text("".join(lines[:4]))
    assert (await here.run("--resume")).code == 0
    assert len(here.results()) == 6
    assert here.sim.stats()["asked"] == 8
    here.output.write_text("".join([*lines[:3], lines[0], *lines[3:]]))
    found = await here.run("--resume")
    assert found.code == 2 and "again" in found.err, found


async def test_a_later_schema_is_refused(here):
    here.input.write_text(prompts(2))
    assert (await here.run("--limit", 1)).code == 0
    head, _, rest = here.sidecar.read_text().partition("\n")
    here.sidecar.write_text(head.replace('"schema":1', '"schema":2') + "\n" + rest)
    found = await here.run("--resume")
    assert found.code == 2 and "later version (schema 2" in found.err, found


@pytest.mark.parametrize("kib", [1, 7, 20, 33])
async def test_a_full_disk_stops_the_run_and_claims_nothing_that_is_not_there(tmp_path, kib):
    async with world(tmp_path, latency_s=0.01) as here:
        here.input.write_text(prompts(100))
        found = await here.run(seconds=20, through=("prlimit", f"--fsize={kib * 1024}"))
        assert found.code == 3, found
        assert "File too large" in found.err and "go on with --resume" in found.err
        claimed = {json.loads(line)["n"] for line in here.sidecar.read_text().splitlines() if '"t":"done"' in line}
        assert claimed <= {int(line["id"][5:]) for line in here.lines()}
        found = await here.run("--resume")
        assert found.code == 0, found
        assert len(here.results()) == 100


async def test_a_dry_run_counts_and_sends_nothing(here):
    here.input.write_text(prompts(4, max_tokens=1000) + prompts(1) + "{bad\n\n")
    ended = await here.run("--dry-run", "--json", output=(), OPENAI_API_KEY="")
    assert ended.code == 0, ended
    found = ended.json
    assert found["lines"] == 6 and found["bad_lines"] == 2
    assert found["targets"]["m"]["lines"] == 4
    assert found["targets"]["m"]["max_output_tokens"] == 4000
    assert found["max_cost_usd"] == pytest.approx(4 * (21 * 0.15 + 1000 * 0.6) / 1e6)
    assert found["targets"]["m"]["input_tokens"] == 4 * 6
    assert "line 5: an earlier line has the same id" in ended.err
    assert not here.output.exists() and here.sim.stats()["asked"] == 0
    table = await here.run("--dry-run", "--limit", 2)
    assert table.code == 0 and "$0.0012" in table.out


async def test_limit_sends_the_first_lines_and_resume_goes_beyond(here):
    here.input.write_text("\n" + prompts(10))
    found = await here.run("--limit", 4, "--json")
    assert found.code == 0 and found.json["lines"] == 4 and found.json["unwritten"] == 0
    assert set(here.results()) == {"a0", "a1", "a2", "a3"}
    found = await here.run("--resume", "--json")
    assert found.code == 0 and found.json["lines"] == 10 and found.json["written_now"] == 6


async def test_concurrency_is_the_most_that_is_under_way(tmp_path):
    async with world(tmp_path, latency_s=0.05) as here:
        here.input.write_text(prompts(60))
        process = here.spawn("--concurrency", 3)
        most = 0
        while not process.over:
            most = max(most, here.sim.stats()["in_flight"])
            await asyncio.sleep(0.002)
        assert (await process.end()).code == 0
        assert most == 3


async def test_the_summary_and_the_report(here):
    here.input.write_text(prompts(12))
    found = await here.run("--report", "report.html")
    assert found.code == 0, found
    head, row = found.out.splitlines()[:2]
    assert head.split()[:2] == ["deployment", "ok"] and row.split()[:2] == ["m", "12"]
    assert found.out.splitlines()[3].split()[:3] == ["12", "12", "0"]
    assert found.err == ""
    assert (here.folder / "report.html").read_text().lstrip().lower().startswith("<!doctype html")


async def test_names_and_contents_are_made_durable_in_order(here):
    assert shutil.which("strace"), "strace is missing: apt-get install -y strace"
    here.input.write_text(prompts(3))
    trace = here.folder / "trace"
    through = ("strace", "-f", "-y", "-e", "trace=openat,write,fsync,renameat,rename", "-o", str(trace))
    assert (await here.run(through=through)).code == 0
    calls = trace.read_text().splitlines()
    at = [i for i, call in enumerate(calls) if "write(" in call and "out.jsonl>" in call]
    synced = [i for i, call in enumerate(calls) if "fsync(" in call and "out.jsonl>" in call]
    folder = [i for i, call in enumerate(calls) if "fsync(" in call and f"<{here.folder}>" in call]
    assert folder and folder[0] < at[0]
    assert synced and synced[-1] > at[-1]
