"""The page of faults says of each what the tables of the tests say."""

import pathlib

from fault_table import FAULTS
from test_matrix_streams import BREAKS

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "faults.md"
WORDS = {True: "yes", False: "no"}


def table_of(heading):
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return {tuple(cell.strip().strip("`") for cell in line.strip("|").split(" | "))[1:] for line in lines}


def test_faults_before_the_first_content():
    said = table_of("Before the first content")
    tested = set()
    for fault in FAULTS.values():
        for stream in (False, True) if fault.only is None else (fault.only,):
            reason = fault.reason[stream] if isinstance(fault.reason, dict) else fault.reason
            retried = stream if fault.retried is None else fault.retried
            tested.add((fault.error.__name__, reason or "-", WORDS[retried], WORDS[fault.counted], fault.money))
    assert said == tested


def test_breaks_after_the_first_content():
    said = table_of("After the first content")
    assert said == {(b.error.__name__, b.reason or "-", WORDS[b.counted]) for b in BREAKS.values()}
