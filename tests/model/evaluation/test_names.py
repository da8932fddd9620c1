"""Names of models: stored, read back and in words."""

from __future__ import annotations

import copy
import json

import pytest

from model.evaluation.names import (
    CANDIDATE,
    CHAMPION,
    FROZEN,
    MARKOV,
    MOVING,
    Kind,
    ModelName,
    Variant,
    in_order,
)


@pytest.mark.parametrize(
    ("text", "kind", "size", "variant", "words"),
    [
        ("candidate", Kind.CANDIDATE, None, Variant.OWN, "candidate"),
        ("champion", Kind.CHAMPION, None, Variant.OWN, "champion"),
        ("champion_earlier", Kind.EARLIER, None, Variant.OWN, "earlier champion"),
        ("popularity_frozen", Kind.FROZEN, None, Variant.OWN, "frozen popularity"),
        ("popularity_moving", Kind.MOVING, None, Variant.OWN, "moving popularity"),
        ("popularity_decayed", Kind.DECAYED, None, Variant.OWN, "decayed popularity"),
        (
            "popularity_decayed_unseen",
            Kind.DECAYED_UNSEEN,
            None,
            Variant.OWN,
            "decayed popularity, unseen first",
        ),
        ("markov", Kind.MARKOV, None, Variant.OWN, "Markov chain"),
        ("rung-25k", Kind.RUNG, "25k", Variant.OWN, "rung 25k"),
        ("rung-25k-older", Kind.RUNG, "25k", Variant.OLDER, "rung 25k of the champion's cycle"),
        ("rung-2m-control", Kind.RUNG, "2m", Variant.CONTROL, "rung 2m, champion's configuration"),
        ("rung-2m-exchanged", Kind.RUNG, "2m", Variant.EXCHANGED, "rung 2m, other users' histories"),
    ],
)
def test_a_stored_name_is_parsed_and_written_back_unchanged(text, kind, size, variant, words):
    name = ModelName(text)
    assert (name.kind, name.size, name.variant, name.words) == (kind, size, variant, words)
    assert name == text and str(name) == text and json.dumps({name: name}) == json.dumps({text: text})
    if size is not None:
        assert ModelName.rung(size, variant) == text


@pytest.mark.parametrize(
    "text", ["", "rung", "rung-", "rung-25k-", "rung-25k-newer", "rung-25k-older-older", "candidate-older"]
)
def test_an_unknown_name_is_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match="unknown; allowed are candidate, champion, .*rung-SIZE-older"):
        ModelName(text)


def test_a_copied_name_keeps_its_meaning():
    assert copy.deepcopy(ModelName.rung("25k", Variant.OLDER)).variant is Variant.OLDER


def test_a_name_in_a_sentence_has_its_article():
    sentences = [name.in_a_sentence for name in (CANDIDATE, CHAMPION, FROZEN, MARKOV, ModelName.rung("25k"))]
    assert sentences == ["the candidate", "the champion", "frozen popularity", "the Markov chain", "rung 25k"]


def test_names_are_shown_rungs_first_and_yardsticks_last():
    names = ["markov", "popularity_moving", "rung-2m", "candidate", "rung-25k-older", "candidate", "champion"]
    assert in_order(names) == ["rung-2m", "rung-25k-older", CANDIDATE, CHAMPION, MOVING, MARKOV]
