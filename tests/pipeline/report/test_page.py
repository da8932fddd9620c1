"""The cycle report: the facts are on the page, it stands alone, and every cycle has one."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import pytest

from pipeline.cycle.figures import AcceptedData, PromoteFigures
from pipeline.cycle.records import read_records
from pipeline.report.page import cycle_page
from pipeline.report.table_facts import RejectedLine, TableFacts
from spark_jobs.figures import SparkWork
from tests.pipeline import cycle_records
from tests.pipeline.cycle_records import FOUR_RUNGS, ONE_RUNG, accepted, record

FETCHED = re.compile(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//|@import|url\(|<script", re.IGNORECASE)
FACTS = TableFacts(
    rejected_lines={
        "not JSON": [RejectedLine("events-1.jsonl", 7, '{"user": <u1>')],
        "missing user": [RejectedLine("events-1.jsonl", 9, "{}")],
    },
    history_lengths=[("1", 5), ("2–3", 12), ("4–7", 23)],
    vocabulary_by_cycle=[("2024-02-10", 650), ("2024-02-20", 50)],
)
LINEAGE = {
    "code_revision": "1234abcd",
    "stages_of_other_revisions": {"events": "9876fedc"},
    "configuration_digest": "feedfacecafebeef",
    "table_versions": {"events": 3, "ranks": 12},
}


def page(records, rungs=ONE_RUNG, facts=FACTS, parent=True) -> str:
    cycle, config = cycle_records.cycle(parent), cycle_records.config(rungs)
    return cycle_page(cycle, config, records, facts, LINEAGE)


def words(text: str) -> str:
    """The page's words, without markup and no-break spaces."""
    body = html.unescape(re.sub(r"<[^>]+>", " ", text.partition("<body>")[2]))
    return re.sub(r"\s+", " ", body)


def assert_has(text: str, *facts: str) -> None:
    for fact in facts:
        assert fact in text, fact


def test_an_accepted_cycle_is_reported_in_words_and_numbers():
    assert_has(
        words(page(accepted())),
        "Accepted: the candidate is now version 2, the new champion",
        "It loses to the Markov chain (−9.1 %).",
        "fine-tuned from version 1, cycle 2024-02-10",
        "champion before version 1, cycle 2024-02-10",
        "code revision 1234abcd events ran at 9876fedc",
        "0.0500 0.0450–0.0560",
        "cold-start items 60 30",
        "Not applicable to this source: C.",
        "2 labels had an item that was not and count at the last rank",
        "Frozen popularity counts 28 days (1,204 events of 30 items), since 7 days hold 3 events of 2 items.",
        "Moving popularity counts 7 days (310 events of 28 items).",
        "Decayed popularity counts the whole log (640 events of 31 items), with a half-life of 3 days, "
        "chosen by MRR on 240 labels before the split.",
        "The Markov chain is not applicable: the whole log up to the split holds 40 transitions.",
        "MRR by user hit rate@10 NDCG@10 test loss, nats",
        "replay, 48 h delay candidate 0.0350",
        "candidate 87.1 % 0.420 champion 83.9 % 0.457 moving popularity 35.5 % 0.700",
        "cutoff, history up to the split candidate 0.0500",
        "all labels candidate 890 98.9 %",
        "−40.0 %",
        "2 new files with 703 lines: 700 became events, 3 were rejected.",
        "4 accepted lines repeat another of their file exactly.",
        "2 events of earlier files were replaced by later lines.",
        "kept without launched_at, which is a year without a day",
        "1 file was read again, after a changed mapping or a failed reading.",
        "1 file was skipped as already ingested; 1 landed under another name.",
        "Columns that the mapping names and the files lack: device.",
        'events-1.jsonl:7 {"user": <u1>',
        "not JSON 2 events-1.jsonl:7",
        "events 1 0 0 0 validate_events.html sequences 0 0 0 1 validate_sequences.html",
        "6 of 700 new events came late (4 up to an hour, 2 up to a day), 1 of them as context only, 1 of these high-value.",
        "The evaluation window holds 1,200 events in 10 days: 1.25 times the daily volume of 2024-02-10 .",
        "The action mix differs by 0.042",
        "viewed 300 25.0 %",
        "40 users with 640 events up to the split, 300 of them targets, in 45 sequences of 700 tokens",
        "9.0 bytes a token, 8.6 % of the tokens repeated as context",
        "The evaluation window has 900 labels of 120 users.",
        "11.0 % of the 450 high-value events since the split of version 1 had an item outside its vocabulary",
        "2024-02-20 (this one) 50",
        "with a non-zero vector: language 30, graph 29, annotation 7.",
        "Trained from version 1, cycle 2024-02-10: 40 steps in 12.5 s",
        "3.00 of at most 5.00 passes for the full model: held-out MRR 0.0340 is the last within 2 % of the highest, 0.0345, among 120 labels held out "
        "after 2024-02-08T00:00:00+00:00 and trained on since.",
        "latency ✓ pass 4.2 ms, within the budget of 200 ms",
        "all labels against the Markov chain (informative) ✗ fail −9.1 %, below zero at 95 % confidence",
        "(upper bound −4.1 %) 120 −9.1 % 0.0 %",
        "Rung 25k and the candidate moved in the same direction in 1 of the 2 cycles that measured both.",
        "feedfacecafebeef",
        "events 3, ranks 12",
        "812 MB",
    )


def test_the_page_fetches_nothing():
    for records in (accepted(), cycle_records.refused_by_first_rung(), {}):
        assert not FETCHED.search(page(records))


def test_text_of_a_log_is_escaped():
    assert "<u1>" not in page(accepted())


def test_a_rungs_refusal_says_why_what_was_saved_and_what_did_not_run():
    text = words(page(cycle_records.refused_by_first_rung(), ("25k", "50k")))
    assert_has(
        text,
        "Refused by rung 25k: nothing was registered",
        "Own histories against other users': fail, −1.0 %, below the +5.0 % margin at 95 % confidence (upper bound +4.0 %).",
        "This saved training rung 50k and the full model 400k (16 times this rung's backbone).",
        "The candidate has no measures; these are of rung 25k.",
        "rung 25k of the champion's cycle",
        "Measured for the candidate only.",
        "Rung 25k: ✗ refused Compared with: the same rung of cycle 2024-02-10.",
        "Did not run: rung_2 , train , evaluate , funnel , register , promote .",
    )
    assert "Candidate:" not in text


def test_a_refusal_in_training_shows_the_rungs_figures():
    text = words(page(cycle_records.refused_by_training()))
    assert_has(
        text,
        "Refused in training: nothing was registered",
        "The loss of step 7 is not a finite number.",
        "The candidate has no measures; these are of rung 25k.",
        "Rung 25k: ✓ passed",
        "Did not run: evaluate , funnel , register , promote .",
    )
    assert "weights, candidate" not in text and "weights, rung 25k" in text


def test_a_refusal_by_the_funnel_shows_the_candidates_figures():
    assert_has(
        words(page(cycle_records.refused_by_funnel())),
        "Refused by the funnel's last gate: nothing was registered",
        "All labels against the champion: fail, −11.1 %, below the −2.0 % margin at 95 % confidence (upper bound −6.1 %).",
        "MRR, candidate",
        "Candidate: ✗ refused",
        "all labels against the champion ✗ fail −11.1 %, below the −2.0 % margin at 95 % confidence (upper bound −6.1 %) 120 −11.1 % −2.0 %",
        "Did not run: register , promote .",
    )


def test_an_accepted_version_that_was_not_promoted_says_why():
    why = "version 2 stays challenger: promotion is by hand"
    promote = record("promote", PromoteFigures(version=2, champion=1, moved=False, why=why))
    text = words(page(accepted() | {"promote": promote}))
    assert "Accepted: the candidate is now version 2 " in text and "new champion" not in text
    assert "Version 2 stays challenger: promotion is by hand." in text


def test_four_rungs_are_on_one_page():
    text = words(page(accepted(FOUR_RUNGS), FOUR_RUNGS))
    places = [text.index(f"Rung {size}: ✓ passed") for size in FOUR_RUNGS]
    assert places == sorted(places) and places[-1] < text.index("Candidate: ✓ passed")
    for size in FOUR_RUNGS:
        assert f"Rung {size} and the candidate moved in the same direction" in text
        assert f"weights, rung {size}" in text
    # The candidate's curves come first, then the rungs' from the largest.
    trained = text[text.index(" Training Candidate") : text.index(" Lineage ")]
    places = [
        trained.index(title) for title in ("Candidate", *(f"Rung {size} " for size in FOUR_RUNGS[::-1]))
    ]
    assert places == sorted(places)
    assert all(f"train and judge the rung of {size}" in text for size in FOUR_RUNGS)


def test_a_refusal_by_the_third_of_four_rungs_shows_its_figures():
    text = words(page(cycle_records.refused_by_rung(3, FOUR_RUNGS), FOUR_RUNGS))
    assert "Refused by rung 100k: nothing was registered" in text
    assert "The candidate has no measures; these are of rung 100k." in text
    assert "Did not run: rung_4 , train" in text


def test_a_cycle_without_any_stage_has_a_page():
    assert_has(
        words(page({}, facts=TableFacts(), parent=False)),
        "Not finished No stage has finished.",
        "The stage events did not run in this cycle.",
        "fine-tuned from nothing: trained from scratch",
        "champion before none: nothing was accepted before this cycle",
        "No gate was reached.",
        "Nothing was trained.",
    )


def test_an_unfinished_cycle_has_the_parts_that_ran():
    text = words(page(cycle_records.until(accepted(), "validate_events")))
    assert_has(
        text,
        "Not finished The last stage to finish was validate_events.",
        "700 became events",
        "The stage sequences did not run in this cycle.",
        "No model was ranked in this cycle.",
    )


def test_a_first_cycle_measures_cold_starts_within_its_own_log():
    text = words(page(accepted(), parent=False))
    assert (
        "in the last window before the split had an item outside the vocabulary of one window earlier" in text
    )


def test_a_cycle_without_new_files_says_so():
    none = replace(
        accepted()["events"].figures,
        files_new=0,
        files_read_again=0,
        files_skipped=0,
        lines=0,
        accepted=0,
        rejected=0,
        rejected_by_reason={},
    )
    text = words(page(accepted() | {"events": record("events", none)}))
    assert "No new files landed." in text and "0 lines" not in text and "skipped" not in text


@pytest.mark.parametrize("missing", [stage for stage in accepted() if stage not in ("register", "report")])
def test_a_page_is_written_whichever_record_is_missing(missing):
    records = {name: finished for name, finished in accepted().items() if name != missing}
    assert "Accepted" in page(records)


@pytest.mark.parametrize(
    "records",
    [
        accepted(),
        accepted(FOUR_RUNGS),
        cycle_records.refused_by_first_rung(),
        cycle_records.refused_by_training(),
        cycle_records.refused_by_funnel(),
    ],
    ids=["accepted", "four rungs", "refused by a rung", "refused in training", "refused by the funnel"],
)
def test_records_read_back_from_json_make_the_same_page(home, records):
    cycle = cycle_records.cycle()
    cycle_records.write(home, cycle, records, FOUR_RUNGS)
    stored = read_records(home.cycle_folder(cycle.source, cycle.name))
    assert stored == records
    assert page(stored, FOUR_RUNGS) == page(records, FOUR_RUNGS)


def test_what_was_accepted_and_what_left_is_told():
    records = accepted()
    word = AcceptedData(("events.volume_drift",), "ann@host", "2024-02-11T00:00:00", "the source was down")
    judged = replace(
        records["validate_events"].figures, accepted=word, cautions=("every event is of no country",)
    )
    events = replace(
        records["events"].figures,
        outdated_by_reason={"withdrawn": 2},
        files_withdrawn=1,
        new_columns=("device",),
        retyped=("column ts of 2.csv was numbers and is text",),
        empty_files=("1.csv", "2.csv"),
    )
    text = words(
        page(
            records
            | {"validate_events": record("validate_events", judged), "events": record("events", events)}
        )
    )
    assert_has(
        text,
        "Not met and accepted: events.volume_drift; accepted by ann@host on 2024-02-11: the source was down",
        "2 ingested files left or were read again: withdrawn.",
        "1 landed file is withdrawn and was not read.",
        "Columns that no file had before: device.",
        "Files without a line: 1.csv, 2.csv.",
        "Column ts of 2.csv was numbers and is text.",
        "Every event is of no country.",
    )


def test_costs_say_what_spark_read_shuffled_and_wrote():
    records = accepted()
    work = SparkWork(4, 3_500_000, 2_000, 90, 1_800_000, 80, 700, 0, 1.25)
    records["events"] = replace(records["events"], spark=work)
    assert_has(words(page(records)), "3,500,000 rows, 2.0 kB 90 rows, 1.8 MB 80 rows, 700 B")
