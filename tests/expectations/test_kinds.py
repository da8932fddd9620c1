"""Kinds of values: a letter and a word each."""

from __future__ import annotations

from expectations.kinds import KINDS, MISSING


def test_letters_and_words_are_distinct():
    assert all(len(letter) == 1 for letter in KINDS)
    assert len(set(KINDS.values())) == len(KINDS) and MISSING in KINDS.values()
