"""People who were erased: their lines become no event, and no text that names them is kept.

An erased person is known by a digest of the id, so that the list of erased people holds no id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

ERASED = "erased user"
NO_TEXT = "(erased)"
_SEPARATOR = "\x1f"
_BETWEEN_WORDS = r"[^\p{L}\p{N}_@.+~:-]+"


def user_digest(source: str, user: str) -> str:
    """Digest of a user's id: SHA-256 over the source's name and the id."""
    return hashlib.sha256(f"{source}{_SEPARATOR}{user}".encode()).hexdigest()


def digest_of(source: str, user: Column) -> Column:
    """`user_digest` of a column of ids."""
    return F.sha2(F.concat(F.lit(f"{source}{_SEPARATOR}"), user), 256)


def is_erased(source: str, user: Column, erased: Sequence[str]) -> Column:
    """Whether a column of ids holds one of an erased user; false for null."""
    return F.coalesce(digest_of(source, user).isin(*erased), F.lit(False))


def names_erased(source: str, text: Column, erased: Sequence[str]) -> Column:
    """Whether one of a text's words is the id of an erased user; false for null.

    A word is a run of letters, digits and `_@.+~:-`; the words between these signs count too.
    """
    words = F.concat(F.split(text, _BETWEEN_WORDS), F.split(text, r"[^\p{L}\p{N}]+"))
    return F.coalesce(F.exists(words, lambda word: is_erased(source, word, erased)), F.lit(False))


def refuse_erased(lines: DataFrame, source: str, erased: Sequence[str]) -> DataFrame:
    """Checked lines with those of erased users refused, without their text; other refused lines that name
    one keep their reason and lose their text."""
    if not erased:
        return lines
    own = is_erased(source, F.col("user_id"), erased)
    named = names_erased(source, F.col("raw"), erased)
    return lines.select(
        *[
            {
                "problem": F.when(own, ERASED).otherwise(F.col("problem")),
                "raw": F.when(own | named, NO_TEXT).otherwise(F.col("raw")),
                "user_id": F.when(own, None).otherwise(F.col("user_id")),
            }.get(name, F.col(name)).alias(name)
            for name in lines.columns
        ]
    )
