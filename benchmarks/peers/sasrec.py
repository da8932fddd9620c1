"""RecTools' SASRec on an exported split; runs in its own environment (requirements.txt).

    python sasrec.py FOLDER SEED EPOCHS

Reads FOLDER/interactions.parquet (user_id, item_index, event_at), all events up to the split, and
FOLDER/labels.parquet (user_id, position, item_index, catalogue_size) of users who have a history. Writes
FOLDER/sasrec.parquet (user_id, position, rank).

Items that SASRec was not trained on have no score: they share the ranks after all scored items.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


class EpochLine(Callback):
    """Prints a line after every epoch, which can take minutes."""

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        print(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}", flush=True)


def trainer_of(epochs: int) -> Callable[[], Trainer]:
    """A factory of CPU trainers; RecTools needs a named function."""

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[EpochLine()],
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            enable_checkpointing=False,
        )

    return trainer


def main(folder: Path, seed: int, epochs: int) -> None:
    seed_everything(seed)
    interactions = pd.read_parquet(folder / "interactions.parquet").rename(
        columns={"user_id": Columns.User, "item_index": Columns.Item, "event_at": Columns.Datetime}
    )
    interactions[Columns.Weight] = 1.0
    labels = pd.read_parquet(folder / "labels.parquet")
    dataset = Dataset.construct(interactions)
    model = SASRecModel(
        n_blocks=2,
        n_heads=4,
        n_factors=128,
        session_max_len=100,
        loss="softmax",
        lr=1e-3,
        batch_size=128,
        epochs=epochs,
        deterministic=True,
        get_trainer_func=trainer_of(epochs),
    )
    started = time.monotonic()
    model.fit(dataset)
    print(f"trained in {time.monotonic() - started:.0f} s", flush=True)

    users = labels["user_id"].unique()
    known = dataset.item_id_map.size
    scored = []
    for block in np.array_split(users, max(1, len(users) // 500)):
        ranked = model.recommend(block, dataset, k=known, filter_viewed=False)
        of_block = labels[labels["user_id"].isin(block)]
        columns = [Columns.User, Columns.Item, Columns.Rank]
        scored.append(
            of_block.merge(
                ranked[columns].rename(columns={Columns.User: "user_id", Columns.Item: "item_index"}),
                on=["user_id", "item_index"],
                how="left",
            )
        )
    result = pd.concat(scored, ignore_index=True)
    unscored = known + (result["catalogue_size"] - known + 1) / 2
    result["rank"] = result[Columns.Rank].astype(float).fillna(unscored)
    result[["user_id", "position", "rank"]].to_parquet(folder / "sasrec.parquet")
    print(f"ranked {len(result)} labels in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
