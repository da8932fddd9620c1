"""Names of the models and slices of an evaluation: as stored, and for people.

older = ModelName.rung("25k", Variant.OLDER)
older == "rung-25k-older"                     # a name is its stored text: in `ranks`, a folder, JSON
ModelName("rung-25k-older").variant           # reading one back: Variant.OLDER; ValueError for others
older.words                                   # "rung 25k of the champion's cycle"
ModelName("champion").in_a_sentence           # "the champion"
Group("slice", "cold_start").words            # "cold-start items"
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Self


class Kind(StrEnum):
    """What a model is, in the order in which tables and figures show them."""

    RUNG = "rung"
    """A small model of the funnel."""
    CANDIDATE = "candidate"
    """The full model of this cycle."""
    CHAMPION = "champion"
    """The version that was live when the cycle began, over today's items."""
    EARLIER = "champion_earlier"
    """A champion of some promotions before that one, over today's items."""
    FROZEN = "popularity_frozen"
    """The yardstick that every model must beat."""
    MOVING = "popularity_moving"
    DECAYED = "popularity_decayed"
    DECAYED_UNSEEN = "popularity_decayed_unseen"
    """The same, with the items that the user has already below all others."""
    MARKOV = "markov"
    MARKOV_NOW = "markov_now"
    """The same with the transitions known when the request is made."""
    MIXTURE = "mixture"
    """A learned mixture of the signals: the model without histories, item vectors and backbone."""


class Variant(StrEnum):
    """How a model named after a rung differs from this cycle's rung."""

    OWN = ""
    """It is this cycle's rung."""
    OLDER = "older"
    """The rung of the champion's cycle, as it is."""
    CONTROL = "control"
    """The champion's configuration, trained on this cycle's data."""
    EXCHANGED = "exchanged"
    """This cycle's rung, each label ranked from the history of another user's example."""


_WORDS = {
    Kind.CANDIDATE: "candidate",
    Kind.CHAMPION: "champion",
    Kind.EARLIER: "earlier champion",
    Kind.FROZEN: "frozen popularity",
    Kind.MOVING: "moving popularity",
    Kind.DECAYED: "decayed popularity",
    Kind.DECAYED_UNSEEN: "decayed popularity, unseen first",
    Kind.MARKOV: "Markov chain",
    Kind.MARKOV_NOW: "Markov chain as of the request",
    Kind.MIXTURE: "learned mixture",
}
_VARIANT_WORDS = {
    Variant.OWN: "",
    Variant.OLDER: " of the champion's cycle",
    Variant.CONTROL: ", champion's configuration",
    Variant.EXCHANGED: ", other users' histories",
}
_WITH_ARTICLE = (
    Kind.CANDIDATE, Kind.CHAMPION, Kind.EARLIER, Kind.MARKOV, Kind.MARKOV_NOW, Kind.MIXTURE,
)  # fmt: skip
_RUNG = re.compile(rf"{Kind.RUNG}-([^-]+)(?:-({'|'.join(one for one in Variant if one)}))?")


class ModelName(str):
    """A model's name: its stored text, and what the text means. Raises ValueError for any other text."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if text not in _WORDS and not _RUNG.fullmatch(text):
            allowed = (*_WORDS, "rung-SIZE", *(f"rung-SIZE-{one}" for one in Variant if one))
            raise ValueError(f"model name {text!r} is unknown; allowed are {', '.join(allowed)}")
        return super().__new__(cls, text)

    @classmethod
    def rung(cls, size: str, variant: Variant = Variant.OWN) -> Self:
        """A rung by the size of its backbone, `25k` → `rung-25k`, or a variant of it."""
        return cls(f"{Kind.RUNG}-{size}" + (f"-{variant}" if variant else ""))

    @property
    def kind(self) -> Kind:
        """What the model is."""
        return Kind.RUNG if _RUNG.fullmatch(self) else Kind(self)

    @property
    def size(self) -> str | None:
        """Size of a rung's backbone, a key of `model.sizes.SIZES`; None for any other model."""
        match = _RUNG.fullmatch(self)
        return match[1] if match else None

    @property
    def variant(self) -> Variant:
        """Which variant of a rung; OWN for any other model."""
        match = _RUNG.fullmatch(self)
        return Variant((match[2] if match else None) or "")

    @property
    def words(self) -> str:
        """The name for people."""
        if self.kind is Kind.RUNG:
            return f"rung {self.size}{_VARIANT_WORDS[self.variant]}"
        return _WORDS[self.kind]

    @property
    def in_a_sentence(self) -> str:
        """The name for people, with its article where it takes one: `the champion`, `rung 25k`."""
        return f"the {self.words}" if self.kind in _WITH_ARTICLE else self.words


CANDIDATE = ModelName(Kind.CANDIDATE)
CHAMPION = ModelName(Kind.CHAMPION)
EARLIER = ModelName(Kind.EARLIER)
FROZEN = ModelName(Kind.FROZEN)
MOVING = ModelName(Kind.MOVING)
DECAYED = ModelName(Kind.DECAYED)
DECAYED_UNSEEN = ModelName(Kind.DECAYED_UNSEEN)
MARKOV = ModelName(Kind.MARKOV)
MARKOV_NOW = ModelName(Kind.MARKOV_NOW)
MIXTURE = ModelName(Kind.MIXTURE)


def in_order(names: Iterable[str]) -> list[ModelName]:
    """The distinct names in the order in which they are shown: rungs, candidate, champions, yardsticks.

    Rungs and their variants stay in the order given. Raises ValueError for a name of no model.
    """
    return sorted(map(ModelName, dict.fromkeys(names)), key=lambda name: list(Kind).index(name.kind))


COLD_START, WEAK_ID, NEW_USER = "cold_start", "weak_id", "new_user"
"""Slices that need no context field."""
SLICE_WORDS = {COLD_START: "cold-start items", WEAK_ID: "weak-ID items", NEW_USER: "new users"}
"""Slices for people."""
