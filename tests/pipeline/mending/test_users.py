"""A person leaves tables, files and pages, stays out, and the next suite is green."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.cycle import corrections
from pipeline.cycle.corrections import CorrectionError
from pipeline.mending.users import erase_user
from pipeline.registry import tracking
from tests.pipeline.mending.conftest import WHY
from tests.spark_jobs.landed import jsonl


def test_an_erased_person_is_nowhere_and_does_not_come_back(log, event, monkeypatch):
    versions = [SimpleNamespace(version=2), SimpleNamespace(version=1)]
    monkeypatch.setattr(tracking, "accepted_versions", lambda settings, source: versions)
    jsonl(log.landing / "1.jsonl", event("ann"), event("bob"), "bad")
    jsonl(log.landing / "archived.jsonl", event("ann", i="2"), event("cid"))
    log.ingest()
    (log.landing / "archived.jsonl").rename(log.landing.parent / "archived.jsonl")
    page = log.settings.report_folder("films", "2024-02-10") / "validate_events.html"
    page.parent.mkdir(parents=True)
    page.write_text('<td class="mono">ann</td>')
    erase_user(log.config, log.settings, "ann", WHY, log.lines.append)
    assert log.users == ["bob", "cid"] and "ann" not in (log.landing / "1.jsonl").read_text()
    assert page.read_text() == '<td class="mono">(erased)</td>'
    assert log.lines[0] == "landed files: 1 lines left 1 files; the next cycle reads them again"
    assert "events: 2 left; refused lines: 0 lost their text" in log.lines
    assert any("registered versions 1, 2 hold no id" in line for line in log.lines)
    kept = log.settings.corrections("films").read_text()
    assert "ann@host" in kept and '"ann"' not in kept
    # Landed again, and read again under another mapping: nothing brings the person back.
    jsonl(log.landing / "again.jsonl", event("ann", i="3"), event("dan"))
    log.ingest(log.mapped(country="'NL'"))
    assert log.users == ["bob", "dan"]  # nobody had passed the archived file
    assert ("again.jsonl", "(erased)", "erased user") in log.refused
    log.lines.clear()
    erase_user(log.config, log.settings, "ann", WHY, log.lines.append)
    assert len(corrections.read(log.settings, "films").erased) == 1
    with pytest.raises(CorrectionError, match="the id of the user is empty"):
        erase_user(log.config, log.settings, " ", WHY, log.lines.append)
