"""Log lines: one line each, whatever is in it; nothing that commands a terminal; nobody waits for the stream."""

import io
import json
import logging
import logging.config
import threading

import pytest

from spillway.telemetry.logging import MOST_PENDING, logging_to, tell

NASTY = 'a\r\n{"level":"error","event":"forged"}\x1b[2J\x9b31m\u2028\u202e\x00\ud800"\\'


def written(act, **options):
    stream = io.StringIO()
    with logging_to(stream, **options):
        act(logging.getLogger("spillway.somewhere"))
    return stream.getvalue()


def failing(prompt):
    raise KeyError(prompt)


@pytest.mark.parametrize("form", ["json", "text"])
def test_one_line_whatever_is_in_it(form):
    def act(logger):
        tell(logger, logging.INFO, NASTY, {"request_id": NASTY, "n": 1})
        logger.warning("the word is %s", NASTY)

    text = written(act, form=form)
    lines = text.split("\n")
    assert len(lines) == 3
    assert lines[2] == ""
    for line in lines[:2]:
        assert line.isprintable()
        assert "\x1b" not in line
    if form == "json":
        first, second = map(json.loads, lines[:2])
        assert (first["level"], first["n"], second["level"]) == ("info", 1, "warning")
        assert first["logger"] == "spillway.somewhere"
        assert first["time"].endswith("Z")


def test_json_keeps_the_words_that_are_harmless():
    nasty = NASTY.replace("\ud800", "")
    line = json.loads(written(lambda logger: tell(logger, logging.INFO, "x", {"request_id": nasty}), form="json"))
    assert line["request_id"] == nasty


def test_what_is_empty_is_left_out_and_zero_is_not():
    fields = {"a": None, "b": "", "c": 0, "d": False, "e": 0.5}
    line = json.loads(written(lambda logger: tell(logger, logging.INFO, "x", fields)))
    assert {name: line[name] for name in line if len(name) == 1} == {"c": 0, "d": False, "e": 0.5}


def test_the_form_follows_the_stream():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with logging_to(stream):
        tell(logging.getLogger("spillway.x"), logging.INFO, "serving", {"bind": "a b", "n": 0.123456789})
    assert stream.getvalue()[12:] == ' info    serving  bind="a b" n=0.123457\n'


def test_an_exception_is_its_type_and_its_place():
    def act(logger):
        try:
            try:
                failing("CANARY")
            except KeyError as error:
                raise ValueError("CANARY too") from error
        except ValueError:
            logger.exception("it failed")

    line = json.loads(written(act))
    assert line["exception"].startswith("ValueError in act (test_logging.py:")
    assert "KeyError in failing (test_logging.py:" in line["exception"]
    assert "CANARY" not in str(line)
    assert "CANARY" in written(act, level="DEBUG")


def test_levels():
    def act(logger):
        tell(logger, logging.DEBUG, "quiet", {})
        tell(logger, logging.INFO, "normal", {})
        tell(logger, logging.WARNING, "loud", {})

    def events(**options):
        return [json.loads(line)["event"] for line in written(act, **options).splitlines()]

    assert events(level="debug") == ["quiet", "normal", "loud"]
    assert events() == ["normal", "loud"]
    assert events(level="WARNING") == ["loud"]
    for options in ({"level": "LOUD"}, {"form": "xml"}):
        with pytest.raises(ValueError, match=r"LOUD|xml"):
            written(act, **options)


def test_everything_is_as_before_afterwards():
    logger = logging.getLogger("spillway")
    before = logger.level, logger.propagate, list(logger.handlers)
    written(lambda logger: None, level="DEBUG")
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_it_goes_on_when_somebody_configures_logging():
    """The server does so at its start, which closes every handler of the process."""

    def act(logger):
        tell(logger, logging.INFO, "before", {})
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
        tell(logger, logging.INFO, "after", {})

    assert [json.loads(line)["event"] for line in written(act).splitlines()] == ["before", "after"]


def test_a_stuck_stream_holds_nobody_up_and_says_what_is_lost():
    gate, stuck = threading.Event(), threading.Event()

    class Stuck(io.StringIO):
        def write(self, text):
            stuck.set()
            gate.wait(10)
            return super().write(text)

    stream = Stuck()
    with logging_to(stream):
        logger = logging.getLogger("spillway.x")
        tell(logger, logging.INFO, "first", {})
        assert stuck.wait(10)
        for number in range(MOST_PENDING + 200):
            tell(logger, logging.INFO, "more", {"n": number})
        gate.set()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    lost = [int(line["event"].split()[0]) for line in lines if "lost" in line["event"]]
    assert lost == [200]
    assert len(lines) == 1 + MOST_PENDING + 1


def test_a_stream_that_is_closed_loses_lines_only():
    stream = io.StringIO()
    with logging_to(stream):
        stream.close()
        tell(logging.getLogger("spillway.x"), logging.INFO, "nobody reads this", {})


def test_odd_values_are_words():
    line = json.loads(written(lambda logger: tell(logger, logging.INFO, "x", {"odd": object, "n": 1})))
    assert "object" in line["odd"]
