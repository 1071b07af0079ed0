"""The pieces of a run one by one: compact sets, records, growing files, the cap, what was left behind."""

import errno
import json
import os
import random
import zlib

import pytest

from spillway.batch.files import FileTroubleError, GrowingFile, holder_of, lock
from spillway.batch.intake import Intake
from spillway.batch.lines import BadLine, Line, parse_line, read_id
from spillway.batch.opening import sidecar_of, take_up
from spillway.batch.parts import LONGEST_LINE
from spillway.batch.past import read_header, read_past
from spillway.batch.results import answer_line, error_line, read_written
from spillway.batch.seen import IdSet, LineSet
from spillway.batch.sidecar import (
    DamagedRecordError,
    DoneRecord,
    FailRecord,
    SendRecord,
    WaitRecord,
    decode,
    encode,
    encode_done,
    encode_send,
)
from spillway.batch.source import Fingerprint, InputChangedError, Source
from spillway.batch.spend import RUN_CAP, LineGate, RunBudget
from spillway.batch.targets import Targets
from spillway.core.errors import BadRequest, BudgetExceeded, ConfigError
from spillway.core.options import Deployment
from spillway.core.reply import FinishReason, Tokens, ToolCall, Usage

ABOUT = Fingerprint(digest="d" * 32, size=100, lines=50, requests=50)


def test_a_line_set_is_a_set():
    numbers = random.Random(1).choices(range(1, 5000), k=4000)
    found = LineSet(10)
    assert [found.add(n) for n in numbers] == [n not in numbers[:i] for i, n in enumerate(numbers)]
    assert len(found) == len(set(numbers))
    assert all((n in found) == (n in set(numbers)) for n in range(6000))


@pytest.mark.parametrize("expected", [0, 3000])
def test_an_id_set_is_a_set_of_texts_and_grows(expected):
    found = IdSet(expected)
    assert all(found.add(f"id-{i}") for i in range(3000))
    assert not any(found.add(f"id-{i}") for i in range(3000))
    assert len(found) == 3000


def test_what_is_remembered_of_a_line_is_a_few_bytes():
    ids = IdSet(1_000_000)
    assert len(ids._slots) * 8 <= 24 * 1_000_000


def test_a_record_comes_back_and_any_flipped_bit_is_noticed():
    records = [SendRecord(n=7, pico=5, paid=2), DoneRecord(n=7, sum=1, paid=3, line='{"a":1}'), WaitRecord(n=3)]
    for record in records:
        line = encode(record)
        assert line.endswith(b"}\n")
        assert json.loads(line)["t"] == type(record).__struct_config__.tag
        assert decode(line[:-1]) == record
        for at in range(len(line) - 1):
            damaged = bytearray(line[:-1])
            damaged[at] ^= 0x04
            with pytest.raises(DamagedRecordError):
                decode(bytes(damaged))
    assert decode(encode_send(7, 5, 2)[:-1]) == records[0]
    assert decode(encode_done(7, b"x\n", 3)[:-1]) == DoneRecord(n=7, sum=zlib.crc32(b"x\n"), paid=3)


def test_the_fields_of_a_line_become_those_of_a_request():
    body = {
        "model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5, "max_completion_tokens": 9,
        "temperature": 1, "top_p": 0.5, "stop": ["a"], "seed": 3, "tools": [{"type": "function"}], "tool_choice": "auto",
        "response_format": {"type": "json_object"}, "reasoning_effort": "low", "stream": True,
        "stream_options": {"include_usage": True}, "user": "u", "logit_bias": {"1": 2},
    }  # fmt: skip
    for record in ({"custom_id": "a", "body": body}, {"custom_id": "a", **body}):
        line = parse_line(json.dumps(record).encode(), 4, run="run")
        assert isinstance(line, Line)
        assert (line.number, line.custom_id, line.model, line.stream) == (4, "a", "m", True)
        asked = line.request
        assert (asked.max_tokens, asked.temperature, asked.top_p, asked.stop, asked.seed) == (9, 1.0, 0.5, ["a"], 3)
        assert asked.tools == [{"type": "function"}]
        assert asked.tool_choice == "auto"
        assert asked.response_format == {"type": "json_object"}
        assert asked.reasoning_effort == "low"
        assert asked.extra == {"user": "u", "logit_bias": {"1": 2}}
        assert asked.idempotency_id == "run-4"


@pytest.mark.parametrize(
    ("raw", "custom_id", "said"),
    [
        (b"nul", "9", "not JSON"),
        (b'{"id": "a", "prompt": 3}', "a", "text or a list"),
        (b'{"id": "a", "body": 3}', "a", "body is not an object"),
        (b'{"id": "a", "body": {"messages": "x"}}', "a", "messages is not a list"),
        (b'{"id": "a", "body": {"prompt": "x"}}', "a", "messages is missing"),
        (b'{"id": "a", "messages": [{"content": "x"}]}', "a", "not an object with a role"),
        (b'{"id": "a", "prompt": "x", "max_tokens": 0}', "a", "max_tokens"),
        (b'{"id": "a", "prompt": "x", "temperature": "hot"}', "a", "temperature"),
        (b'{"id": true, "prompt": "x"}', "9", "neither text nor a whole number"),
        (b'{"id": "a", "prompt": "x", "url": 3}', "a", "url must be"),
    ],
)
def test_what_is_wrong_with_a_line_is_said_under_its_id(raw, custom_id, said):
    line = parse_line(raw, 9)
    assert isinstance(line, BadLine)
    assert line.custom_id == custom_id == read_id(raw, 9)
    assert said in line.message


def test_ids_are_taken_in_the_order_of_the_input():
    intake = Intake(ABOUT, Targets([Deployment(name="m")]))
    assert isinstance(intake.read(1, b'{"id": "2", "prompt": "x"}'), tuple)
    # The number of a line without an id may be the id of another.
    assert intake.read(2, b'{"prompt": "x"}').message == "an earlier line has the same id"
    intake.pass_over(3, b'{"id": "b", "prompt": "x"}')
    assert intake.read(4, b'{"id": "b", "prompt": "x"}').custom_id == "b"
    assert intake.read(5, None).message == "the line is longer than 64 MiB"


def test_targets_of_names_groups_and_nothing():
    deployments = [
        Deployment(name="a", group="g", fallback=("c",)), Deployment(name="b", group="g"), Deployment(name="c"),
    ]  # fmt: skip
    targets = Targets(deployments)
    group = targets.resolve("g")
    assert group.members == ("a", "b")
    assert group.route == {"a", "b", "c"}
    assert (group.capacity, group.queue_capacity, group.attempts) == (256, 2048, 4)
    with pytest.raises(BadRequest, match="names no model"):
        targets.resolve(None)
    with pytest.raises(BadRequest, match="no deployment or group"):
        targets.resolve("z")
    assert Targets(deployments, "g").resolve("c").name == "g"
    assert Targets(deployments[2:]).resolve(None).name == "c"
    with pytest.raises(ConfigError):
        Targets(deployments, "z")


def test_a_source_reads_the_same_twice_and_notices_a_change(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\n \r\n{1}\r\n\n{2}")
    source = Source(str(path), tmp_path)
    about = source.fingerprint()
    assert (about.lines, about.requests) == (5, 2)
    assert list(source.lines(about)) == [(3, b"{1}\r\n"), (5, b"{2}")]
    assert list(source.lines(about)) == [(3, b"{1}\r\n"), (5, b"{2}")]
    with path.open("ab") as file:
        file.write(b"{3}")
    with pytest.raises(InputChangedError):
        list(source.lines(about))
    source.close()


def test_a_line_that_is_too_long_is_passed_over_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("spillway.batch.parts.LONGEST_LINE", 10)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"{1}\n" + b"x" * 35 + b"\n{3}\n" + b"y" * 9 + b"\n" + b"z" * 10)
    source = Source(str(path), tmp_path)
    about = source.fingerprint()
    assert (about.lines, about.requests) == (5, 5)
    assert list(source.lines(about)) == [(1, b"{1}\n"), (2, None), (3, b"{3}\n"), (4, b"y" * 9 + b"\n"), (5, b"z" * 10)]
    source.close()
    assert LONGEST_LINE == 64 * 2**20


def test_an_answer_is_a_chat_completion_that_depends_on_nothing_but_itself():
    tokens = Tokens(
        text="", reasoning="hm", tool_calls=(ToolCall(id="c", name="f", arguments="{}"),), request_id="r",
        finish_reason=FinishReason.TOOL_CALLS, deployment="m",
        usage=Usage(input_tokens=5, output_tokens=3, cached_tokens=2, reasoning_tokens=1),
    )  # fmt: skip
    line = answer_line(12, "a", tokens, "gpt")
    assert line == answer_line(12, "a", tokens, "gpt") and line.endswith(b"\n") and line.count(b"\n") == 1
    assert json.loads(line) == {
        "id": "line-12",
        "custom_id": "a",
        "response": {
            "status_code": 200,
            "request_id": "r",
            "body": {
                "id": "chatcmpl-line-12",
                "object": "chat.completion",
                "created": 0,
                "model": "gpt",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": None,
                            "reasoning_content": "hm",
                            "tool_calls": [
                                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                            ],
                        },
                        "finish_reason": "tool_calls",
                    }
                ],
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 3,
                    "total_tokens": 8,
                    "prompt_tokens_details": {"cached_tokens": 2},
                    "completion_tokens_details": {"reasoning_tokens": 1},
                },
            },
        },
        "error": None,
    }
    number, written = read_written(line[:-1])
    assert (number, written.custom_id, written.error) == (12, "a", None)
    assert read_written(error_line(3, "b", "bad_request", "no")[:-1])[1].error.code == "bad_request"


@pytest.mark.parametrize(
    "text", [b"{}", b'{"id":"line-0","custom_id":"","error":null}', b'{"id":"x","custom_id":"","error":null}', b"\xff"]
)
def test_what_is_no_line_of_ours_is_not_taken_for_one(text):
    with pytest.raises(ValueError):
        read_written(text)


# Growing files.


@pytest.fixture
def growing(tmp_path):
    opened = []

    def make(name="f", **options):
        opened.append(GrowingFile.open(tmp_path / name, **options))
        return opened[-1]

    yield make
    for file in opened:
        file.close()


def test_a_partial_write_is_taken_back(growing, monkeypatch):
    file = growing()
    file.append(b"one\n")
    real = os.write
    budget = [5]

    def full(fd, data):
        room = min(budget[0], len(data))
        if not room:
            raise OSError(errno.ENOSPC, "No space left on device")
        budget[0] -= room
        return real(fd, data[:room])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(FileTroubleError, match="No space left"):
        file.append(b"second line\n")
    monkeypatch.undo()
    assert file.path.read_bytes() == b"one\n"
    assert file.size == 4
    file.append(b"two\n")
    assert file.path.read_bytes() == b"one\ntwo\n"


def test_short_writes_are_completed(growing, monkeypatch):
    file = growing()
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    file.append(b"a long line\n")
    monkeypatch.undo()
    assert file.path.read_bytes() == b"a long line\n"


def test_what_may_not_be_on_disk_is_dropped(growing):
    failing = [False]

    def sync(fd):
        if failing[0]:
            raise OSError(errno.EIO, "Input/output error")

    file = growing(sync=sync)
    file.append(b"one\n")
    file.make_durable()
    file.append(b"two\n")
    failing[0] = True
    with pytest.raises(FileTroubleError, match="can't be made durable"):
        file.make_durable()
    file.distrust()
    assert file.path.read_bytes() == b"one\n"


def test_a_lock_is_exclusive_and_says_who_has_it(growing, tmp_path):
    first, second = growing(), growing()
    lock(first, tmp_path / "out")
    first.append(b'{"t":"open","pid":41}\n{"t":"open","pid":42}\n')
    with pytest.raises(ConfigError, match="out is in use by process 42"):
        lock(second, tmp_path / "out")
    assert holder_of(growing("empty")) is None
    first.close()
    lock(second, tmp_path / "out")


def test_a_file_system_without_locks_is_reported(growing, tmp_path, monkeypatch):
    def none(fd, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(ConfigError, match="has no locks"):
        lock(growing(), tmp_path / "out")


# The cap.


class Log:
    def __init__(self):
        self.sends = []

    def send(self, number, pico, paid):
        self.sends.append((number, pico, paid))


def test_what_is_paid_and_set_aside_stays_under_the_cap():
    budget, log, told = RunBudget(100), Log(), []
    stop = budget.on_room(lambda: told.append(1))
    one = LineGate(1, budget, log).reserve("m", 60)
    two = LineGate(2, budget, log)
    assert two.reserve("m", 60) is None
    one.sending()
    assert log.sends == [(1, 60, 0)]
    one.settle(30)
    one.settle(1000)
    assert told == [1] and budget.paid_pico == 30
    hold = two.reserve("m", 70)
    hold.release()
    assert (budget.paid_pico, budget.reserved_pico) == (30, 0)
    with pytest.raises(BudgetExceeded) as refused:
        two.reserve("m", 71)
    assert refused.value.reason == RUN_CAP and refused.value.final
    stop()
    two.reserve("m", 1).release()
    assert told == [1, 1]


def test_what_a_line_has_paid_goes_into_its_next_record():
    budget, log = RunBudget(), Log()
    gate = LineGate(5, budget, log)
    for cost in (3, 4):
        hold = gate.reserve("m", 10)
        hold.sending()
        hold.settle(cost)
    assert log.sends == [(5, 10, 0), (5, 10, 3)]
    assert gate.sent and gate.take_paid() == 4 and not gate.sent and gate.paid == 0


def test_a_listener_that_is_given_twice_is_told_once():
    budget, told = RunBudget(), []

    def listener():
        told.append(1)

    stops = [budget.on_room(listener), budget.on_room(listener)]
    budget.settle(0, 0)
    stops[0]()
    budget.settle(0, 0)
    stops[1]()
    budget.settle(0, 0)
    assert told == [1, 1]


# What was left behind.


@pytest.fixture
def left(tmp_path):
    """Take a run up, append what a test wants, and take it up again."""
    output = tmp_path / "out"
    files = []

    def begin(**options):
        for file in files:
            file.close()
        files[:] = []
        out, side, past = take_up(output, ABOUT, **options)
        files[:] = [out, side]
        return out, side, past

    yield begin
    for file in files:
        file.close()


def result(number, code=None):
    if code is None:
        return answer_line(number, f"a{number}", Tokens(text="t", deployment="m"), "m")
    return error_line(number, f"a{number}", code, "no")


def test_a_killed_process_is_taken_up_where_it_was(left):
    out, side, past = left()
    assert past.new and not past.is_done(1)
    for number in (1, 2):
        side.append(encode_send(number, 100, 0))
    out.append(result(1))
    side.append(encode_done(1, result(1), 7))
    side.append(encode_send(3, 50, 0))
    side.append(encode(WaitRecord(n=3, paid=5, failed=2)))
    out.append(result(2))  # killed before its record
    out.append(result(4)[:20])
    _, side, past = left(resume=True)
    assert not past.new
    assert [n for n in range(1, 50) if past.is_done(n)] == [1, 2]
    assert past.paid_pico == 7 + 100 + 5 and past.open_pico == {}
    assert past.failures == {3: 2}
    assert past.outcomes == {"ok": 2}
    assert out.path.read_bytes() == result(1) + result(2)
    again = read_past(out.path, side.path, read_header(side.path))
    assert (again.paid_pico, again.open_pico, again.failures, again.adopted) == (112, {}, {3: 2}, [])


def test_attempts_that_count_survive_any_number_of_processes(left):
    _, side, _ = left()
    side.append(encode_send(9, 10, 0))
    side.append(encode(FailRecord(n=9)) * 2)
    for _ in range(3):
        _, side, past = left(resume=True)
        assert past.failures == {9: 2}
        side.append(encode_send(9, 10, 0))
    side.append(encode(FailRecord(n=9)))
    _, _, past = left(resume=True)
    assert past.failures == {9: 3}
    assert past.paid_pico == 40


def test_a_flipped_bit_is_found_wherever_it_is_and_nothing_is_touched(left):
    out, side, _ = left()
    for number in (1, 3, 2):
        side.append(encode_send(number, 100, 0))
        out.append(result(number))
        side.append(encode_done(number, result(number), 7))
    whole = {out.path: out.path.read_bytes(), side.path: side.path.read_bytes()}
    for path, content in whole.items():
        for at in range(len(content)):
            damaged = bytearray(content)
            damaged[at] ^= 0x10
            path.write_bytes(damaged)
            if at == len(content) - 1:
                # Without its end the last line is like one that was torn.
                assert read_past(out.path, side.path, read_header(side.path)).outcomes.total() <= 3
                continue
            with pytest.raises(ConfigError, match=r"byte \d+"):
                left(resume=True)
            assert path.read_bytes() == damaged
        path.write_bytes(content)
    assert left(resume=True)[2].outcomes == {"ok": 3}


def test_an_output_line_that_was_written_by_nobody_is_refused(left):
    out, side, _ = left()
    out.append(result(5))
    out.append(result(1))
    side.append(encode_done(1, result(1), 0))
    with pytest.raises(ConfigError, match="byte 0 was not written by this run"):
        left(resume=True)


def test_an_ordered_run_keeps_lines_that_come_too_early(left):
    out, side, _ = left(ordered=True)
    for number in (3, 2):
        text = result(number)[:-1].decode()
        side.append(encode(DoneRecord(n=number, sum=zlib.crc32(result(number)), line=text)))
    _, _, past = left(resume=True)
    assert past.header.ordered
    assert past.parked_count == 2 and past.is_parked(2) and past.is_done(3) and not past.is_done(1)
    assert past.outcomes == {"ok": 2}


def test_a_header_that_was_never_whole_begins_anew(left, tmp_path):
    sidecar_of(tmp_path / "out").write_bytes(b'{"t":"run","sch')
    (tmp_path / "out").touch()
    _, side, past = left(resume=True)
    assert past.new and read_header(side.path).lines == 50
    side.close()
    (tmp_path / "out").write_bytes(result(1))
    sidecar_of(tmp_path / "out").write_bytes(b"")
    with pytest.raises(ConfigError, match="does not say how it was begun"):
        left(resume=True)
