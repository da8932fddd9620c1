"""The sentence encoder: what it says of texts, and that a vector depends on its text alone."""

from __future__ import annotations

import numpy as np
import pandas
import pytest

from spark_jobs.config import LANGUAGE_WIDTH
from spark_jobs.features import language


@pytest.fixture(scope="module")
def encode():
    return language.load(language.precision())


def test_sentences_of_one_meaning_lie_closer(encode):
    ghost, haunted, cooking = (
        encode(text)
        for text in ("A ghost story.", "Spirits haunt an old house.", "How to cook pasta for two.")
    )
    assert ghost.shape == (LANGUAGE_WIDTH,)
    assert abs(np.linalg.norm(ghost) - 1) < 1e-5
    assert ghost @ haunted > ghost @ cooking


def test_only_the_first_word_pieces_are_read(encode):
    start = "word " * language.MAX_TOKENS
    assert (encode(start) == encode(start + "and more")).all()


def test_a_vector_does_not_depend_on_the_other_texts_of_a_batch(encode):
    frame = pandas.DataFrame({"text_digest": ["a", "b"], "text": ["A ghost story.", "Pasta, " * 20]})
    (encoded,) = language.encoding(language.precision())(iter([frame]))
    assert list(encoded["encoder"]) == [language.encoder_name(language.precision())] * 2
    assert (encoded["vector"][0] == encode("A ghost story.")).all()


def test_both_precisions_agree(encode):
    exact = language.load("float32")("A ghost story in an old house.")
    assert language.load("bfloat16")("A ghost story in an old house.") @ exact > 0.999
