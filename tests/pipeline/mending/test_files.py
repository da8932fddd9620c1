"""Files are withdrawn and let in again, refused lines are read anew; a killed command is completed."""

from __future__ import annotations

import pytest

from pipeline.cycle import corrections, identity
from pipeline.cycle.corrections import CorrectionError
from pipeline.mending.files import mending_job, replay_rejected, undo_withdrawal, withdraw
from spark_jobs.landing import ingestion
from tests.pipeline.mending.conftest import WHY
from tests.spark_jobs.landed import jsonl


def killed(*arguments):
    raise KeyboardInterrupt


def test_a_withdrawn_file_leaves_and_stays_out_until_it_is_let_in(log, event, monkeypatch):
    jsonl(log.landing / "1.jsonl", event("a"))
    jsonl(log.landing / "bots.jsonl", event("bot"), "bad")
    log.ingest()
    with monkeypatch.context() as patch:  # killed once the intent is written
        patch.setattr(ingestion, "take_out", killed)
        with pytest.raises(KeyboardInterrupt):
            withdraw(log.config, log.settings, "bots.jsonl", WHY, log.lines.append)
    assert log.users == ["a", "bot"]
    path = str(log.landing / "bots.jsonl")
    withdraw(log.config, log.settings, path, WHY, log.lines.append)
    assert log.lines[0] == "bots.jsonl is withdrawn: 1 events and 1 refused lines left"
    assert log.users == ["a"] and log.refused == []
    jsonl(log.landing / "bots.jsonl", event("bot"), event("bot2"))  # it grew
    log.ingest()
    assert log.users == ["a"]
    withdraw(log.config, log.settings, "bots.jsonl", WHY, log.lines.append)
    undo_withdrawal(log.config, log.settings, path, log.lines.append)
    log.ingest()
    assert log.users == ["a", "bot", "bot2"]
    with pytest.raises(CorrectionError, match=r"sub/1\.jsonl is no event file .* did you mean 1\.jsonl\?"):
        withdraw(log.config, log.settings, "sub/1.jsonl", WHY, log.lines.append)
    assert corrections.read(log.settings, "films").withdrawn == ()


def test_refused_lines_are_read_again_under_todays_mapping(log, event):
    jsonl(log.landing / "1.jsonl", event("a"), event("b", t="1767225600000"), "bad")
    jsonl(log.landing / "2.jsonl", event("c"))
    log.ingest()
    assert len(log.refused) == 2
    with pytest.raises(CorrectionError, match="no line of films was refused for 'nonsense'; reasons are: "):
        replay_rejected(log.config, log.settings, "nonsense", WHY, log.lines.append)
    replay_rejected(log.config, log.settings, "not valid", WHY, log.lines.append)
    assert "every line is refused for the reason it was refused for before" in log.lines[-2]
    mended = log.mapped(time="if(t > 1e12, t / 1000, t)")
    log.lines.clear()
    replay_rejected(mended, log.settings, None, WHY, log.lines.append)
    assert log.users == ["a", "b", "c"] and log.refused == [("1.jsonl", "bad", "not valid JSON")]
    assert "  time is after the latest allowed: 1 → 0 refused lines" in log.lines


def test_nothing_is_mended_before_a_first_cycle(log):
    other = log.config.model_copy(update={"source": log.config.source.model_copy(update={"name": "other"})})
    with pytest.raises(CorrectionError, match="no cycle of other has run"):
        mending_job(other, log.settings)


def test_a_part_of_a_tables_history_is_withdrawn_as_a_file_is(log):
    path = str(log.landing / "views")
    for user in ("a", "bot"):
        rows = log.spark.createDataFrame([(user, "1", 1_767_225_600)], "u string, i string, t long")
        rows.write.format("delta").mode("append").save(path)
    config = log.mapped(files=(), format=None, table="./views")
    identity.move(config, log.settings, WHY)
    log.ingest(config)
    withdraw(config, log.settings, "views@1", WHY, log.lines.append)
    assert log.lines[0] == "views@1 is withdrawn: 2 events and 0 refused lines left"
    log.ingest(config)
    assert log.users == []
    undo_withdrawal(config, log.settings, "views@1", log.lines.append)
    log.ingest(config)
    assert log.users == ["a", "bot"]
