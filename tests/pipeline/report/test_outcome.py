"""What a cycle came to, in words."""

from __future__ import annotations

from dataclasses import replace

from model.evaluation.figures import Estimate
from model.evaluation.names import CHAMPION, MARKOV
from pipeline.cycle.figures import PromoteFigures
from pipeline.gates.rules import Verdict
from pipeline.report.outcome import REASONS_SHOWN, failing_checks, headline, judged_model, refused_where
from tests.pipeline.cycle_records import (
    FOUR_RUNGS,
    accepted,
    record,
    refused_by_first_rung,
    refused_by_funnel,
    refused_by_rung,
    refused_by_training,
    until,
)


def with_differences(records: dict, differences: dict[str, Estimate]) -> dict:
    """The records with other relative differences of the candidate from some models, None for the rest."""
    figures = records["evaluate"].figures
    rows = tuple(
        replace(row, relative=differences.get(row.against, Estimate(None)))
        for row in figures.measures.differences
    )
    measures = replace(figures.measures, differences=rows)
    return records | {"evaluate": record("evaluate", replace(figures, measures=measures))}


def reasons(records: dict) -> list[str]:
    """The sentences under the headline, without no-break spaces."""
    return [reason.replace("\u00a0", " ") for reason in headline(records).reasons]


def test_a_promoted_version_is_the_champion_and_its_standing_is_said():
    found = headline(accepted())
    assert (found.outcome, found.tone) == ("accepted", "pass")
    assert found.title == "Accepted: the candidate is now version 2, the new champion"
    assert reasons(accepted()) == [
        "It loses to the Markov chain (−9.1 %).",
        "It beats the champion (+11.1 %), frozen popularity (+150.0 %) and moving popularity (+100.0 %).",
    ]


def test_a_difference_whose_interval_holds_zero_is_not_significant():
    differences = {CHAMPION: Estimate(0.01, -0.02, 0.04), MARKOV: Estimate(-0.03, -0.05, -0.01)}
    assert reasons(with_differences(accepted(), differences)) == [
        "It loses to the Markov chain (−3.0 %).",
        "No significant difference from the champion (+1.0 %).",
    ]


def test_a_version_that_was_not_promoted_says_why():
    why = "version 2 stays as it is: a backfill never moves the live alias"
    promote = record("promote", PromoteFigures(version=2, champion=1, moved=False, why=why))
    found = headline(accepted() | {"promote": promote})
    assert found.title == "Accepted: the candidate is now version 2"
    assert found.reasons[-1] == "Version 2 stays as it is: a backfill never moves the live alias."


def test_a_registered_version_is_accepted_before_its_promotion_has_run():
    found = headline(until(accepted(), "register"))
    assert (found.outcome, found.title) == ("accepted", "Accepted: the candidate is now version 2")


def test_a_rung_refuses_with_the_failed_check_and_what_that_saved():
    found = headline(refused_by_first_rung())
    assert (found.outcome, found.tone) == ("refused", "fail")
    assert found.title == "Refused by rung 25k: nothing was registered"
    assert found.reasons == (
        "Own histories against other users': fail, −1.0 %, below the +5.0 % margin.",
        "Saved: the rung 50k and the full model 400k were not trained (16 times this rung's backbone).",
    )


def test_the_third_of_four_rungs_refuses():
    assert headline(refused_by_rung(3, FOUR_RUNGS)).title == "Refused by rung 100k: nothing was registered"


def test_training_refuses_with_what_was_not_finite():
    found = headline(refused_by_training())
    assert found.title == "Refused in training: nothing was registered"
    assert found.reasons == ("The loss of step 7 is not a finite number.",)


def test_the_funnel_refuses_with_its_failed_checks():
    found = headline(refused_by_funnel())
    assert found.title == "Refused by the funnel's last gate: nothing was registered"
    assert found.reasons == ("All labels against the champion: fail, −11.1 %, below the −2.0 % margin.",)


def test_many_failed_checks_are_counted():
    records = refused_by_funnel()
    failing = tuple(Verdict(f"check {number}", "fail", "no") for number in range(REASONS_SHOWN + 2))
    figures = replace(records["funnel"].figures, verdicts=failing)
    found = headline(records | {"funnel": record("funnel", figures, refused="no")})
    assert found.reasons[-2:] == (f"Check {REASONS_SHOWN - 1}: fail, no.", "2 more checks refused it.")


def test_a_gate_that_measured_nothing_gives_its_reason():
    records = refused_by_funnel()
    silent = (Verdict("the forecast", "not applicable", "too few rungs"),)
    figures = replace(records["funnel"].figures, verdicts=silent)
    found = headline(records | {"funnel": record("funnel", figures, refused="nothing was measured")})
    assert found.reasons == ("Nothing was measured.",)


def test_an_unfinished_cycle_names_its_last_stage():
    found = headline(until(accepted(), "vocabulary"))
    assert (found.outcome, found.title, found.tone) == ("unfinished", "Not finished", "doubt")
    assert found.reasons == ("The last stage to finish was vocabulary.",)
    assert headline({}).reasons == ("No stage has finished.",)


def test_failures_come_before_inconclusive_checks_and_informative_ones_do_not_count():
    fail, doubt = Verdict("size", "fail", "9 MB of 5 MB"), Verdict("task A", "inconclusive", "too few users")
    informative = Verdict("all labels against the Markov chain", "fail", "it does not beat it", binding=False)
    assert failing_checks([informative, doubt, fail]) == ["size: fail, 9 MB of 5 MB"]
    assert failing_checks([informative, doubt]) == ["task A: inconclusive, too few users"]
    assert failing_checks([informative]) == []


def test_gates_and_models_have_one_name():
    records = accepted(FOUR_RUNGS)
    assert [judged_model(records[name].figures).words for name in ("rung_4", "funnel")] == [
        "rung 200k",
        "candidate",
    ]
    assert [refused_where(records[name]) for name in ("rung_4", "train", "funnel")] == [
        "by rung 200k",
        "in training",
        "by the funnel's last gate",
    ]
