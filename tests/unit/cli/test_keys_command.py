"""`spillway keys`: a key is printed once, everything else of it any time."""

import json
import re
import stat

import pytest

from spillway.cli.main import main
from spillway.stores.sqlite import KeyFile

FILE = """
[cluster]
state = "keys.db"
[[gateway.keys]]
name = "fixed"
key = { inline = "secret-of-fixed" }
requests_per_minute = 7
[[deployment]]
name = "gpt-4o-mini"
"""
KEY = re.compile(r"sk-spillway-[\w-]{43}\Z")


@pytest.fixture
def keys(capsys, monkeypatch, tmp_path):
    """`spillway keys ARGS` in a folder with a project file; `(exit code, stdout, stderr)`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spillway.toml").write_text(FILE)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main(["keys", *args])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


def test_a_key_is_shown_once_and_kept_nowhere(keys, tmp_path):
    code, out, err = keys(
        "create", "team-a", "--rpm", "600", "--tpm", "2000", "--max-spend-per-day", "1.5", "--model", "gpt*",
        "--model", "claude-*", "--max-priority", "high", "--expires-in", "30d",
    )  # fmt: skip
    secret = out.strip()
    assert (code, out.count("\n")) == (0, 1)
    assert KEY.match(secret)
    assert secret not in err
    assert "made: team-a; the key is shown this once" in err
    code, out, err = keys("list")
    assert code == 0
    assert secret not in out + err
    assert "secret-of-fixed" not in out + err
    assert all(secret.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    assert (tmp_path / "keys.db").stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) == 0
    code, out, _ = keys("list", "--json")
    fixed, team = json.loads(out)
    assert (fixed["name"], fixed["in"], fixed["requests_per_minute"]) == ("fixed", "project file", 7)
    made, ends = team.pop("created_at"), team.pop("expires_at")
    assert made < ends
    assert team == {
        "name": "team-a", "state": "active", "in": "state file", "requests_per_minute": 600, "tokens_per_minute": 2000,
        "max_spend_per_day_usd": 1.5, "models": ["gpt*", "claude-*"], "max_priority": "high",
    }  # fmt: skip


def test_json_of_what_is_shown_once(keys):
    code, out, _ = keys("create", "team-a", "--json")
    made = json.loads(out)
    assert (code, set(made), made["name"]) == (0, {"name", "key"}, "team-a")
    code, out, _ = keys("rotate", "team-a", "--grace", "1h", "--json")
    again = json.loads(out)
    assert again["key"] != made["key"]
    code, out, _ = keys("revoke", "team-a", "--json")
    assert json.loads(out) == {"name": "team-a", "state": "revoked"}


def test_a_name_that_was_revoked_may_be_made_anew(keys, tmp_path):
    keys("create", "team-a")
    assert keys("revoke", "team-a")[0] == 0
    assert " revoked " in keys("list")[1]
    assert keys("create", "team-a", "--rpm", "1")[0] == 0
    with KeyFile(tmp_path / "keys.db") as file:
        (key,) = file.all()
    assert (key.revoked_at, key.limits.requests_per_minute, len(key.digests)) == (None, 1, 1)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("create", "fixed"), "spillway.toml has a key 'fixed'; choose another name"),
        (("create", "team-a"), "there is a key 'team-a' already; rotate it, or revoke it first"),
        (("create", " "), "name must not be empty"),
        (("create", "x", "--rpm", "0"), "'--rpm': 0 is not in the range x>=1"),
        (("create", "x", "--max-spend-per-day", "-1"), "-1.0 is not in the range x>=0"),
        (("create", "x", "--max-spend-per-day", "nan"), "must be"),
        (("create", "x", "--expires-in", "soon"), "must be seconds, or such as 30m, 12h or 7d, not 'soon'"),
        (("create", "x", "--max-priority", "top"), "'top' is not one of"),
        (("revoke", "fixed"), "the key 'fixed' stands in spillway.toml; change it there"),
        (("rotate", "fixed"), "the key 'fixed' stands in spillway.toml; change it there"),
        (("revoke", "nobody"), "no key 'nobody' in "),
        (("rotate", "nobody"), "(known: team-a)"),
        (("list", "-c", "none.toml"), "none.toml: there is no such file"),
    ],
)
def test_what_can_not_be_is_one_line_and_exit_2(keys, args, said):
    keys("create", "team-a")
    code, out, err = keys(*args)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())
    assert err.startswith("error: ")


def test_a_revoked_key_is_neither_rotated_nor_revoked_again(keys):
    keys("create", "team-a")
    keys("revoke", "team-a")
    for action in ("rotate", "revoke"):
        code, _, err = keys(action, "team-a")
        assert code == 2
        assert "the key 'team-a' is revoked; `spillway keys create` makes a new one" in err


def test_without_a_state_file_there_are_none_to_list_and_none_to_revoke(keys, tmp_path):
    assert [row["name"] for row in json.loads(keys("list", "--json")[1])] == ["fixed"]
    assert not (tmp_path / "keys.db").exists()
    code, _, err = keys("revoke", "team-a")
    assert (code, "keys.db: there is no state file" in err) == (2, True)
    (tmp_path / "spillway.toml").write_text(FILE.replace('"keys.db"', '""'))
    code, _, err = keys("create", "team-a")
    assert (code, "keeps no state file" in err) == (2, True)


def test_a_damaged_file_is_one_line(keys, tmp_path):
    (tmp_path / "keys.db").write_bytes(b"no database" * 50)
    code, _, err = keys("list")
    assert code == 2
    assert err.count("\n") == 1
    assert "keys.db: the state file is damaged or not one" in err


def test_it_says_which_extra_it_needs(keys, monkeypatch):
    monkeypatch.setattr("spillway.cli.keys.find_spec", lambda _name: None)
    code, _, err = keys("create", "team-a")
    assert code == 2
    assert "pip install 'spillway[gateway]'" in err
