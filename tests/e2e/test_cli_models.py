"""`spillway models` and what `spillway check` says of models, prices and limits."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

KEYS = {"OPENAI_API_KEY": "sk-hunter2", "ANTHROPIC_API_KEY": "hunter2-b", "GEMINI_API_KEY": "hunter2-c"}


@pytest.fixture
def spillway(capsys, monkeypatch, tmp_path):
    """`spillway ARGS` in this process and an empty folder; `(exit code, stdout, stderr)`."""
    from spillway.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPILLWAY_CONFIG", raising=False)
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main(list(args))
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def at(monkeypatch):
    """Set the wall clock of the command line."""

    def set_(*day):
        from datetime import UTC, datetime

        monkeypatch.setattr("spillway.core.clock.wall_now", lambda: datetime(*day, tzinfo=UTC))

    return set_


def cells(out):
    return [re.split(r"  +", line.strip()) for line in out.splitlines()]


class TestTable:
    def test_a_part_of_a_name_in_any_case_with_everything_there_is_to_say(self, spillway, at):
        at(2026, 11, 23)
        code, out, err = spillway("models", "CLAUDE-HAIKU")
        assert (code, err.count("\n")) == (0, 1)
        assert "at providers that LiteLLM reaches" in err
        heading, provider, first, batch, second, over, *_ = cells(out)
        assert heading == ["model", "window", "answer", "modes", "in", "cached", "write", "out"]
        assert provider == ["[anthropic]"]
        assert first == ["claude-haiku-4-5", "200K", "64K", "TIP>T", "1", "0.1", "1.25/2", "5"]
        assert batch == ["batch", "0.5", "0.05", "0.625/1", "2.5"]
        assert second == ["claude-haiku-5-5", "1M", "128K", "TIP>T", "0.1", "0.01", "0.125/0.2", "0.5"]
        assert over == ["input > 100K", "0.5", "0.05", "0.625/1", "2.5"]

    def test_price_changes_to_come_and_what_is_deprecated(self, spillway, at):
        at(2026, 11, 23)
        _, out, _ = spillway("models", "gemini-*")
        rows = cells(out)
        argon = next(place for place, row in enumerate(rows) if row[0] == "gemini-4-argon")
        assert rows[argon][-4:] == ["2", "0.1", "-", "10"]
        assert rows[argon + 1] == ["from 2026-12-01", "4", "0.2", "-", "20"]
        assert "gemini-2.0-flash (deprecated)" in [row[0] for row in rows]
        at(2026, 12, 2)
        rows = cells(spillway("models", "google/gemini-4-argon")[1])
        assert rows[2][-4:] == ["4", "0.2", "-", "20"]
        assert not any(row[0].startswith("from") for row in rows)

    def test_services_and_media(self, spillway, at):
        at(2026, 11, 23)
        rows = {row[0]: row[1:] for row in cells(spillway("models", "openai/gpt-5.5")[1])}
        assert rows["flex"] == ["2.5", "0.25", "-", "15"]
        assert rows["flex, input > 272K"] == ["5", "0.5", "-", "22.5"]
        assert rows["priority"] == ["12.5", "1.25", "-", "75"]
        rows = {row[0]: row[1:] for row in cells(spillway("models", "gemini-3.8-live")[1])}
        assert rows["audio"] == ["3", "-", "-", "12"]
        assert rows["images"] == ["1", "-", "-", "4.5"]

    def test_what_is_not_known_or_only_assumed_is_marked(self, spillway):
        rows = {row[0]: row[1:4] for row in cells(spillway("models", "gpt-*")[1])}
        assert rows["gpt-6-cyber"] == ["?", "~128K", "TI>T"]
        assert rows["gpt-4o-mini-tts"] == ["?", "?", "T>A"]
        assert rows["gpt-6-astra"] == ["1.05M", "128K", "TI>T"]

    def test_without_a_pattern_the_runtimes_own_providers(self, spillway):
        code, out, err = spillway("models")
        assert code == 0
        providers = re.findall(r"^\[(.+)\]$", out, re.MULTILINE)
        assert providers == ["openai", "anthropic", "google", "azure"]
        assert re.fullmatch(r"note: 1,\d+ more at providers that LiteLLM reaches, see: spillway models '\*/\*'\n", err)

    def test_other_providers_are_found_by_their_names(self, spillway):
        _, out, err = spillway("models", "deepseek/deepseek-chat")
        assert "[deepseek]" in out
        assert err == ""
        assert "[deepseek]" in spillway("models", "deepseek-reasoner")[1]

    def test_it_fits_eighty_columns(self):
        parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        env = {"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONWARNINGS": "error"}
        process = subprocess.Popen([sys.executable, "-m", "spillway", "models"], stdout=child, stderr=child, env=env)
        os.close(child)
        seen = b""
        try:
            while piece := os.read(parent, 65_536):
                seen += piece
        except OSError:  # Linux says so when the other end has closed
            pass
        finally:
            os.close(parent)
        assert process.wait(timeout=60) == 0
        plain = re.sub(r"\x1b\[[0-9;]*m", "", seen.decode()).splitlines()
        assert max(len(line) for line in plain if not line.startswith("note:")) <= 80
        row = next(line for line in plain if line.startswith("claude-sonnet-4-5"))
        assert re.split(r" +", row.strip()) == ["claude-sonnet-4-5", "200K", "64K", "TIP>T", "3", "0.3", "3.75/6", "15"]


class TestJson:
    def test_everything_exactly(self, spillway, at):
        at(2026, 11, 23)
        code, out, _ = spillway("models", "anthropic/claude-haiku-5-5", "--json")
        assert code == 0
        found = {(one["provider"], one["model"]): one for one in json.loads(out)}
        one = found["anthropic", "claude-haiku-5-5"]
        services = one.pop("services")
        assert one == {
            "provider": "anthropic",
            "model": "claude-haiku-5-5",
            "name": "Claude Haiku 5.5",
            "context_window": 1_000_000,
            "output_limit": 128_000,
            "output_limit_assumed": False,
            "input": ["text", "image", "pdf"],
            "output": ["text"],
            "deprecated": False,
            "prices": {
                "input_per_mtok_usd": 0.1,
                "output_per_mtok_usd": 0.5,
                "cached_input_per_mtok_usd": 0.01,
                "cache_write_per_mtok_usd": 0.125,
                "cache_write_1h_per_mtok_usd": 0.2,
                "web_search_usd": 0.01,
                "tiers": [
                    {
                        "above_input_tokens": 100_000,
                        "input_per_mtok_usd": 0.5,
                        "output_per_mtok_usd": 2.5,
                        "cached_input_per_mtok_usd": 0.05,
                        "cache_write_per_mtok_usd": 0.625,
                        "cache_write_1h_per_mtok_usd": 1.0,
                        "web_search_usd": 0.01,
                    }
                ],
            },
            "changes": [],
        }
        assert services["batch"]["tiers"][0]["output_per_mtok_usd"] == 1.25

    def test_changes_media_and_what_is_not_known(self, spillway, at):
        at(2026, 11, 23)
        (flash,) = json.loads(spillway("models", "google/gemini-3.8-flash", "--json")[1])[:1]
        assert [(one["from"], one["output_per_mtok_usd"]) for one in flash["changes"]] == [
            ("2027-01-01T00:00:00+00:00", 7.5)
        ]
        (audio,) = [m for m in json.loads(spillway("models", "gpt-audio", "--json")[1]) if m["model"] == "gpt-audio"]
        assert audio["prices"]["audio_input_per_mtok_usd"] == 32.0
        assert audio["prices"]["audio_output_per_mtok_usd"] == 64.0
        (tts,) = json.loads(spillway("models", "gpt-4o-mini-tts", "--json")[1])
        assert (tts["context_window"], tts["output_limit"], tts["input"]) == (None, None, ["text"])

    def test_hours_of_the_day(self, spillway, at):
        at(2026, 11, 23, 3)
        rows = cells(spillway("models", "deepseek/deepseek-chat")[1])
        assert ["from 16:30 UTC", "0.135"] in [row[:2] for row in rows]
        found = json.loads(spillway("models", "deepseek/deepseek-chat", "--json")[1])
        (one,) = [m for m in found if m["provider"] == "deepseek"]
        (change,) = one["changes"]
        assert one["prices"]["input_per_mtok_usd"] == 0.27
        assert (change["from"], change["daily"], change["input_per_mtok_usd"]) == (
            "2026-11-23T16:30:00+00:00", True, 0.135,
        )  # fmt: skip


@pytest.mark.parametrize("args", [("gpt-7",), ("gpt-7", "--json"), ("clod-haiku*",)])
def test_a_pattern_that_matches_nothing_names_the_nearest_and_is_a_usage_error(spillway, args):
    code, out, err = spillway("models", *args)
    assert (code, out) == (2, "")
    assert re.fullmatch(r'error: no known model matches "[^"]+" \(nearest: "[^"]+"(, "[^"]+"){2}\)\n', err)
    assert ("gpt-5" in err) == (args[0] == "gpt-7")
    assert ("claude-" in err) == (args[0] != "gpt-7")


DOUBTFUL = """
[[deployment]]
name = "claude"
model = "claude-haiku-4-5"
rate_limits = { requests_per_minute = 9000, output_tokens_per_minute = 1000 }
[[deployment]]
name = "ours"
model = "gpt-6.2-sol"
[[deployment]]
name = "priced"
model = "gpt-4o-mini"
pricing = { input_per_mtok_usd = 150, output_per_mtok_usd = 0.6 }
"""


class TestCheck:
    def test_doubts_are_warnings_and_no_failure(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(DOUBTFUL)
        code, out, err = spillway("check")
        assert code == 0
        lines = err.splitlines()
        assert all(line.startswith("warning: spillway.toml: ") for line in lines)
        wanted = ["one longest answer", "highest published tier", "price of the model gpt-6.2-sol is unknown", "150"]
        assert len(lines) == len(wanted)
        assert all(word in line for word, line in zip(wanted, lines, strict=True))
        table, store = out.strip().rsplit("\n", 1)
        assert store == "store: memory"
        sources = [row[6] for row in cells(table)[1:]]
        assert sources == ["1 in, 5 out (genai-prices)", "unknown", "150 in, 0.6 out (deployment.pricing)"]

    def test_json_has_them_too(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(DOUBTFUL)
        code, out, _ = spillway("check", "--json")
        found = json.loads(out)
        assert (code, found["ok"], found["problems"], len(found["warnings"])) == (0, True, [], 4)
        assert found["deployments"][1]["price"] == {
            "source": "unknown", "input_per_mtok_usd": None, "output_per_mtok_usd": None,
        }  # fmt: skip

    def test_a_cap_on_what_has_no_price_is_still_a_problem(self, spillway, tmp_path):
        (tmp_path / "spillway.toml").write_text(
            '[[deployment]]\nname = "gpt-6.2-sol"\nbudget = { max_spend_per_day_usd = 5 }\n'
        )
        code, _, err = spillway("check")
        assert code == 2
        assert "[deployment.pricing]" in err
