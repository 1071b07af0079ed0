"""What can't be run over Ray is said in one line, before anything is sent."""

import pytest
from run_cli import prompts

pytestmark = pytest.mark.xdist_group("ray")


async def test_without_the_extra_it_is_named(here):
    away = here.folder / "away" / "ray"
    away.mkdir(parents=True)
    (away / "__init__.py").write_text("raise ModuleNotFoundError('no ray', name='ray')")
    here.input.write_text(prompts(1))
    ended = await here.run("--ray", PYTHONPATH=str(away.parent))
    assert ended.code == 2
    assert "ray is missing; the extra ray brings it: pip install 'spillway[ray]'" in ended.err
    assert not here.output.exists()


async def test_a_cluster_that_is_not_there_is_named(here):
    here.input.write_text(prompts(1))
    for address, said in (
        ("ray://127.0.0.1:1", "is driven from a node"),
        ("127.0.0.1", "no Ray cluster at 127.0.0.1: an address is HOST:PORT, as in head:6379"),
        ("127.0.0.1:1", "no Ray cluster at 127.0.0.1:1: [Errno 111] Connection refused"),
        ("127.0.0.1:99999", "no Ray cluster at 127.0.0.1:99999: "),
    ):
        # Well before Ray itself gives up.
        ended = await here.run(f"--ray={address}", RAY_ADDRESS="", seconds=30)
        assert ended.code == 2, ended
        assert said in ended.err and len(ended.err.splitlines()) == 1
    assert not here.output.exists()


async def test_what_a_worker_finds_wrong_is_the_runs_own_error(here):
    here.project(key='{ from_env = "NOT_SET" }')
    here.input.write_text(prompts(1))
    ended = await here.run("--ray")
    assert ended.code == 2, ended
    assert "environment variable NOT_SET is not set" in ended.err
    assert not here.output.exists()


async def test_an_input_after_ray_is_not_its_address(here):
    here.input.write_text(prompts(3))
    ended = await here.spawn("-o", "out.jsonl", input_="--ray", output=("in.jsonl",)).end()
    assert ended.code == 0, ended
