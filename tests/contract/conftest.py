"""What the judges of the interface share."""

import pytest
from outside import simulator


@pytest.fixture(scope="session")
def sim():
    with simulator("--seed", 7, "--limit", "sk-three=3,-", "--limit", "sk-tokens=-,100,10") as url:
        yield url


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    """`spillway ARGS` in this process and an empty folder; `(exit code, stdout, stderr)`."""
    from spillway.cli.main import main

    monkeypatch.chdir(tmp_path)
    for name in ("SPILLWAY_CONFIG", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def run(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run
