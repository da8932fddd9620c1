"""V-SKNN over users' histories on an exported split (Ludewig and Jannach, UMUAI 2018, section 3.2).

    python neighbours.py FOLDER

Files in FOLDER: see label_ranks.py. A session is a user's newest `NEWEST` distinct items. Its neighbours are the `NEIGHBOURS`
sessions whose items it shares most, where a shared item weighs the more the later it is in the session; an item's score
is the sum of the similarities of the neighbours that have it.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from label_ranks import Labels
from scipy import sparse

NEWEST, NEIGHBOURS, USERS_AT_ONCE = 50, 500, 200


def sessions(interactions: pd.DataFrame) -> pd.DataFrame:
    """Rows of user_id, item_index and weight in (0, 1], linear in the place among a user's newest distinct items."""
    last = interactions.sort_values("event_at", kind="stable").drop_duplicates(
        ["user_id", "item_index"], keep="last"
    )
    back = last.groupby("user_id").cumcount(ascending=False)
    last = last[back < NEWEST]
    place, length = (
        last.groupby("user_id").cumcount() + 1,
        last.groupby("user_id")["item_index"].transform("size"),
    )
    return last.assign(weight=place / length)


def main(folder: Path) -> None:
    started = time.monotonic()
    interactions, labels = pd.read_parquet(folder / "interactions.parquet"), Labels(folder)
    newest = sessions(interactions)
    user, users = pd.factorize(newest["user_id"])
    items = np.sort(interactions["item_index"].unique()).astype(np.int64)
    item = np.searchsorted(items, newest["item_index"].to_numpy())
    shape = (len(users), len(items))
    has = sparse.csr_matrix((np.ones(len(newest)), (user, item)), shape)
    weight = sparse.csr_matrix((newest["weight"].to_numpy(), (user, item)), shape)
    seen = interactions.groupby("user_id")["item_index"].unique()
    trained = time.monotonic()
    row = {name: number for number, name in enumerate(users)}
    asked = np.array([row[name] for name in labels.rows])
    for block in np.array_split(asked, -(-len(asked) // USERS_AT_ONCE)):
        alike = (weight[block] @ has.T).toarray()
        alike[np.arange(len(block)), block] = 0
        if NEIGHBOURS < alike.shape[1]:
            least = -np.partition(-alike, NEIGHBOURS - 1, axis=1)[:, NEIGHBOURS - 1 : NEIGHBOURS]
            alike[alike < least] = 0
        scores = alike @ has
        for number, place in enumerate(block):
            labels.score(users[place], items, scores[number], seen[users[place]])
    labels.write("v-sknn", started, trained)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
