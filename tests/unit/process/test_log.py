import io
import json
import logging

import pytest

from job.process import log


@pytest.fixture(autouse=True)
def restore():
    handlers = log.logger.handlers
    yield
    log.logger.handlers = handlers


def test_each_event_is_one_json_object_a_line():
    out = io.StringIO()
    log.setup("json", out)
    log.bind({"run.id": "r-1"})
    log.event("data.loaded", 'label "a\nb" {"event.name": "forged"}', rows=3)
    [line] = out.getvalue().splitlines()
    record = json.loads(line)
    assert record["event.name"] == "data.loaded"
    assert record["run.id"] == "r-1"
    assert record["rows"] == 3
    assert record["severity_text"] == "INFO"
    assert record["timestamp"].endswith("+00:00")


def test_text_cannot_be_forged_by_control_characters():
    out = io.StringIO()
    log.setup("text", out)
    log.event("data.loaded", "label a\nVerdict promoted \x1b[2J\x9b\u2028end")
    assert out.getvalue() == "label a\\nVerdict promoted \\x1b[2J\\x9b\\u2028end\n"


def test_library_chatter_stays_off_our_stream(capsys):
    out = io.StringIO()
    log.setup("json", out)
    logging.getLogger("tensorflow").warning("chatter")
    logging.getLogger("tensorflow").warning("calls to %s triggered tf.function retracing", "f")
    assert out.getvalue() == ""
    said = capsys.readouterr().err
    assert "chatter" in said
    assert "retracing" not in said


def test_nobody_watches_a_file():
    log.setup("text", io.StringIO())
    assert log.terminal() is None
