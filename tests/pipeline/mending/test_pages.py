"""An id leaves pages and records, and nothing else does."""

from __future__ import annotations

import json

import pytest

from pipeline.mending.pages import names, scrub

PAGE = (
    '<td class="mono">u7</td><td>12 rows: u7, u8</td><td>u77</td>'
    '<div class="mono"><span class="range">a.jsonl:3</span> {&quot;u&quot;: &quot;u7&quot;}</div><p>u7-like words</p>'
)


def test_keys_measured_values_and_lines_lose_the_id(tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "cycle.html").write_text(PAGE)
    (tmp_path / "c" / "x-data-docs-events.html").write_text("<td>u7</td>")
    record = {"figures": {"judgements": [{"observed": "u7, u8", "name": "u7"}]}, "seconds": 7}
    (tmp_path / "stage-x.json").write_text(json.dumps(record))
    assert scrub([tmp_path], "u7") == 3
    assert (tmp_path / "c" / "cycle.html").read_text() == (
        '<td class="mono">(erased)</td><td>12 rows: (erased), u8</td><td>u77</td>'
        '<div class="mono"><span class="range">a.jsonl:3</span>(erased)</div><p>u7-like words</p>'
    )
    assert not (tmp_path / "c" / "x-data-docs-events.html").exists()
    record["figures"]["judgements"][0]["observed"] = "(erased), u8"
    assert json.loads((tmp_path / "stage-x.json").read_text()) == record
    assert scrub([tmp_path], "u7") == 0


@pytest.mark.parametrize(("text", "named"), [("u7", True), ("a u7,", True), ("u77", False), ("x-u7", False)])
def test_an_id_is_named_as_a_word_of_its_own(text, named):
    assert names(text, "u7") is named
