"""The sentence encoder: what it says of texts, and that a vector depends on its text alone."""

from __future__ import annotations

import random

import numpy as np
import pandas
import pytest

from spark_jobs import language


@pytest.fixture(scope="module")
def encode():
    return language.load(language.precision())


def test_sentences_of_one_meaning_lie_closer(encode):
    ghost, haunted, cooking = encode(
        ["A ghost story.", "Spirits haunt an old house.", "How to cook pasta for two."]
    )
    assert ghost.shape == (language.WIDTH,)
    assert abs(np.linalg.norm(ghost) - 1) < 1e-5
    assert ghost @ haunted > ghost @ cooking


def test_only_the_first_word_pieces_are_read(encode):
    start = "word " * language.MAX_TOKENS
    first, second = encode([start, start + "and more"])
    assert (first == second).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vector_does_not_depend_on_its_company(precision):
    encode = language.load(precision)
    rng = random.Random(1)
    words = ["a", "ghost", "story", "of", "pasta", "cooked", "by", "spirits", "in", "the", "old", "house"]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(80)]
    together = encode(texts)
    alone = np.concatenate([encode([text]) for text in texts])
    assert (together == alone).all()


def test_frames_keep_their_digests_and_name_the_encoder(encode):
    frame = pandas.DataFrame({"text_digest": ["a", "b"], "text": ["Pasta, " * 20, "A ghost story."]})
    (encoded,) = language.encoding(language.precision())(iter([frame]))
    assert list(encoded["text_digest"]) == ["a", "b"]
    assert list(encoded["encoder"]) == [language.encoder_name(language.precision())] * 2
    assert (encoded["vector"][1] == encode(["A ghost story."])[0]).all()


def test_both_precisions_agree():
    exact, fast = (language.load(precision)(["A ghost story."])[0] for precision in ("float32", "bfloat16"))
    assert exact @ fast > 0.999
