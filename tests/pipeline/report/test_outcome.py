"""What a cycle came to, in words."""

from __future__ import annotations

from dataclasses import replace

from model.evaluation.figures import Estimate
from model.evaluation.names import CANDIDATE, CHAMPION, FROZEN, MARKOV
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
    """The records with these relative differences of the candidate by model, None for the other models."""
    figures = records["evaluate"].figures
    rows = tuple(
        replace(row, relative=differences.get(row.against, Estimate(None)))
        for row in figures.measures.differences
    )
    measures = replace(figures.measures, differences=rows)
    return records | {"evaluate": record("evaluate", replace(figures, measures=measures))}


def reasons(records: dict) -> list[str]:
    """Why, and what the candidate beats, without no-break spaces."""
    return [reason.replace("\u00a0", " ") for reason in headline(records).reasons]


def losses(records: dict) -> list[str]:
    """What the candidate loses to and what got worse, without no-break spaces."""
    return [loss.replace("\u00a0", " ") for loss in headline(records).losses]


FALLING = ((10, 0.02), (20, 0.031), (30, 0.034), (40, 0.033))
"""Held-out MRR by step, as records hold it from before the number of passes was found."""
FELL = "In training the MRR on held-out labels fell from 0.0340 at step 30 to 0.0330 at step 40."


def test_a_promoted_version_is_the_champion_and_its_standing_is_said():
    shown = headline(accepted())
    assert (shown.outcome, shown.tone) == ("accepted", "pass")
    assert shown.title == "Accepted: the candidate is now version 2, the new champion"
    assert losses(accepted()) == ["It loses to the Markov chain (−9.1 %)."]
    assert shown.sentences == (*shown.losses, *shown.reasons)
    assert reasons(accepted()) == [
        "It beats the champion (+11.1 %), frozen popularity (+150.0 %) and moving popularity (+100.0 %).",
    ]


def test_a_difference_whose_interval_holds_zero_is_not_significant():
    differences = {CHAMPION: Estimate(0.01, -0.02, 0.04), MARKOV: Estimate(-0.03, -0.05, -0.01)}
    assert losses(with_differences(accepted(), differences))[0] == "It loses to the Markov chain (−3.0 %)."
    assert reasons(with_differences(accepted(), differences)) == [
        "No significant difference from the champion (+1.0 %).",
    ]


def with_figures(records: dict, stage: str, **changes) -> dict:
    return records | {stage: record(stage, replace(records[stage].figures, **changes))}


def test_losses_are_said_by_task_and_slice_before_what_is_beaten():
    measures = accepted()["evaluate"].figures.measures
    chain = next(row for row in measures.differences if row.against == MARKOV)
    frozen = next(row for row in measures.differences if row.against == FROZEN)
    behind = Estimate(-0.4, -0.5, -0.3)
    rows = (
        *measures.differences,
        replace(frozen, kind="task", group="A", relative=behind),
        replace(chain, kind="task", group="A", relative=Estimate(-0.2, -0.3, -0.1)),
        replace(chain, kind="task", group="B", relative=Estimate(-0.2, -0.3, 0.1)),
        replace(frozen, kind="slice", group="cold_start", relative=behind),
        replace(frozen, kind="slice", group="new_user", relative=behind, users=9),
        replace(chain, kind="task", group="A", relative=behind, delay_hours=48.0),
    )
    records = with_figures(accepted(), "evaluate", measures=replace(measures, differences=rows))
    whole, by_group = losses(records)[:2]
    assert whole == "It loses to the Markov chain (−9.1 %)."
    assert by_group == (
        "It loses on task A to frozen popularity (−40.0 %) and the Markov chain (−20.0 %); "
        "on cold-start items to frozen popularity (−40.0 %)."
    )


def test_a_held_out_mrr_that_ends_below_its_best_is_a_fall():
    training = accepted()["train"].figures.training
    falling = replace(training, validation_mrr=FALLING)
    assert losses(with_figures(accepted(), "train", training=falling))[-1] == FELL
    steady = replace(training, validation_mrr=((10, 0.02), (20, 0.034), (30, 0.0335)))
    assert FELL not in losses(with_figures(accepted(), "train", training=steady))
    assert FELL not in losses(
        with_figures(accepted(), "train", training=replace(training, validation_mrr=()))
    )


def test_a_test_loss_above_the_champions_is_said():
    measures = accepted()["evaluate"].figures.measures
    rows = tuple(
        replace(row, values={**row.values, "test_loss": Estimate(7.4)}) if row.model == CANDIDATE else row
        for row in measures.metrics
    )
    records = with_figures(accepted(), "evaluate", measures=replace(measures, metrics=rows))
    said = "The test loss over the full catalogue rose from the champion's 7.100 to 7.400 nats."
    assert losses(records)[-1] == said
    assert said not in losses(accepted())


def test_a_refusal_says_why_before_what_the_rung_loses_to():
    shown = headline(refused_by_first_rung())
    assert losses(refused_by_first_rung()) == ["Rung 25k loses to the Markov chain (−9.1 %)."]
    assert shown.sentences == (*shown.reasons, *shown.losses)


def test_a_version_that_was_not_promoted_says_why():
    why = "version 2 stays as it is: a backfill never moves the live alias"
    promote = record("promote", PromoteFigures(version=2, champion=1, moved=False, why=why))
    shown = headline(accepted() | {"promote": promote})
    assert shown.title == "Accepted: the candidate is now version 2"
    assert shown.reasons[-1] == "Version 2 stays as it is: a backfill never moves the live alias."


def test_a_registered_version_is_accepted_before_its_promotion_has_run():
    shown = headline(until(accepted(), "register"))
    assert (shown.outcome, shown.title) == ("accepted", "Accepted: the candidate is now version 2")


def test_a_rung_refuses_with_the_failed_check_and_what_that_saved():
    shown = headline(refused_by_first_rung())
    assert (shown.outcome, shown.tone) == ("refused", "fail")
    assert shown.title == "Refused by rung 25k: nothing was registered"
    assert reasons(refused_by_first_rung()) == [
        "Own histories against other users': fail, −1.0 %, below the +5.0 % margin at 95 % confidence (upper bound +4.0 %).",
        "This saved training rung 50k and the full model 400k (16 times this rung's backbone).",
    ]


def test_the_third_of_four_rungs_refuses():
    assert headline(refused_by_rung(3, FOUR_RUNGS)).title == "Refused by rung 100k: nothing was registered"


def test_training_refuses_with_what_was_not_finite():
    shown = headline(refused_by_training())
    assert shown.title == "Refused in training: nothing was registered"
    assert shown.reasons == ("The loss of step 7 is not a finite number.",)


def test_the_funnel_refuses_with_its_failed_checks():
    shown = headline(refused_by_funnel())
    assert shown.title == "Refused by the funnel's last gate: nothing was registered"
    assert reasons(refused_by_funnel()) == [
        "All labels against the champion: fail, −11.1 %, below the −2.0 % margin at 95 % confidence (upper bound −6.1 %)."
    ]


def test_many_failed_checks_are_counted():
    records = refused_by_funnel()
    failing = tuple(Verdict(f"check {number}", "fail", "no") for number in range(REASONS_SHOWN + 2))
    figures = replace(records["funnel"].figures, verdicts=failing)
    shown = headline(records | {"funnel": record("funnel", figures, refused="no")})
    assert shown.reasons[-2:] == (
        f"Check {REASONS_SHOWN - 1}: fail, no.",
        "2 more checks are listed in the report.",
    )


def test_a_gate_that_measured_nothing_gives_its_reason():
    records = refused_by_funnel()
    silent = (Verdict("the forecast", "not applicable", "too few rungs"),)
    figures = replace(records["funnel"].figures, verdicts=silent)
    shown = headline(records | {"funnel": record("funnel", figures, refused="nothing was measured")})
    assert shown.reasons == ("Nothing was measured.",)


def test_an_unfinished_cycle_names_its_last_stage():
    shown = headline(until(accepted(), "vocabulary"))
    assert (shown.outcome, shown.title, shown.tone) == ("unfinished", "Not finished", "doubt")
    assert shown.reasons == ("The last stage to finish was vocabulary.",)
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
