"""Scenarios: phases, dice that repeat, and messages for what is wrong."""

import pytest

from spillway.sim import FAULTS, FaultError, Phase, Scenario, ScenarioError, parse_fault


def strikes(scenario, seed, at_s=0.0, path="/v1/messages"):
    return [scenario.strike(seed, number, at_s, path) is not None for number in range(1000)]


def test_the_dice_repeat_and_keep_their_share():
    scenario = Scenario((Phase(fault="503", p=0.3),))
    once = strikes(scenario, 7)
    assert once == strikes(scenario, 7)
    assert once != strikes(scenario, 8)
    assert 250 < sum(once) < 350


def test_phases_by_time_and_path():
    scenario = Scenario(
        (
            Phase(fault="503", from_s=1.0, to_s=2.0),
            Phase(fault="529", path="/v1/messages"),
            Phase(fault="500", path="*:generateContent"),
        )
    )
    assert scenario.strike(0, 1, 1.0, "/v1/messages").name == "503"
    assert scenario.strike(0, 1, 2.0, "/v1/messages").name == "529"
    assert scenario.strike(0, 1, 0.5, "/v1beta/models/m:generateContent").name == "500"
    assert scenario.strike(0, 1, 0.5, "/v1/chat/completions") is None


def test_a_file(tmp_path):
    file = tmp_path / "chaos.toml"
    file.write_text('[[phase]]\nfrom_s = 1\nto_s = 2.5\npath = "/v1"\np = 0.5\nfault = "truncated-stream=3"\n')
    (phase,) = Scenario.from_file(file).phases
    assert phase == Phase(fault="truncated-stream=3", from_s=1, to_s=2.5, path="/v1", p=0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[phase]]\nfrom = 1\nfault='503'", "phase 1: unknown key 'from' (nearest: 'from_s')"),
        (
            "[[phase]]\nfault='503'\n[[phase]]\nfault='truncated'",
            "phase 2: fault: unknown fault 'truncated' (nearest: 'truncated-stream')",
        ),
        ("[[phase]]\np=1", "phase 1: fault: is missing"),
        ("[[phase]]\nfault=503", "phase 1: fault: must be a string"),
        ("[[phase]]\nfault='503'\np=2", "phase 1: p: must be between 0 and 1"),
        ("[[phase]]\nfault='503'\nfrom_s=3\nto_s=3", "phase 1: to_s: must be later than from_s"),
        ("[[phase]]\nfault='503'\nfrom_s=true", "phase 1: from_s: must be a number"),
        ("[phases]\n", "unknown key 'phases' (nearest: 'phase')"),
        ("phase = 3", "phase: must be tables"),
        ("[[phase]", "not TOML"),
    ],
)
def test_mistakes_name_file_phase_key_and_the_nearest(tmp_path, text, says):
    file = tmp_path / "chaos.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        Scenario.from_file(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ScenarioError, match="No such file"):
        Scenario.from_file(tmp_path / "none.toml")


def test_every_fault_parses_and_arguments_are_checked():
    for name in FAULTS:
        assert parse_fault(f"{name}=2" if name == "429-retry-after" else name).name == name
    assert parse_fault("truncated-stream=0").after_chunks == 0
    assert parse_fault("reset-mid-stream").after_chunks == 5
    for wrong in (
        "429-retry-after",
        "503=1",
        "stall-before-headers=2",
        "slow-drip=-1",
        "slow-drip=x",
        "slow-drip=inf",
        "",
    ):
        with pytest.raises(FaultError):
            parse_fault(wrong)
