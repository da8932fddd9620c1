"""A model of RecTools on an exported split; runs in an environment of its own (rectools.txt).

    python rectools_models.py FOLDER PEER SEED EPOCHS

Files in FOLDER: see label_ranks.py. Writes FOLDER/PEER.parquet, and FOLDER/PEER.json with the seconds of training and of
ranking. `EPOCHS` is for those that have epochs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from implicit.nearest_neighbours import CosineRecommender
from label_ranks import Labels
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import EASEModel, HSTUModel, ImplicitItemKNNWrapperModel, SASRecModel
from rectools.models.base import ModelBase
from rectools.models.nn.transformers.ligr import LiGRLayers

USERS_AT_ONCE = 200


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


def transformer(epochs: int, **changes: Any) -> dict[str, Any]:
    """What the three transformers have in common: RecTools' sizes for small data."""
    return {
        "n_blocks": 2,
        "n_heads": 4,
        "n_factors": 128,
        "session_max_len": 100,
        "loss": "softmax",
        "lr": 1e-3,
        "batch_size": 128,
        "epochs": epochs,
        "deterministic": True,
        "get_trainer_func": trainer_of(epochs),
    } | changes


PEERS: dict[str, Callable[[int], ModelBase]] = {
    "sasrec": lambda epochs: SASRecModel(**transformer(epochs)),
    "esasrec": lambda epochs: SASRecModel(
        **transformer(epochs, transformer_layers_type=LiGRLayers, loss="sampled_softmax", n_negatives=256)
    ),
    # Without bias of relative time, which wants the time of each request and so one request a user.
    "hstu": lambda epochs: HSTUModel(**transformer(epochs, relative_time_attention=False)),
    "ease": lambda epochs: EASEModel(regularization=500.0, recommend_use_gpu_ranking=False),
    "item-knn": lambda epochs: ImplicitItemKNNWrapperModel(CosineRecommender(K=200)),
}


def main(folder: Path, peer: str, seed: int, epochs: int) -> None:
    seed_everything(seed)
    interactions = pd.read_parquet(folder / "interactions.parquet").rename(
        columns={"user_id": Columns.User, "item_index": Columns.Item, "event_at": Columns.Datetime}
    )
    interactions[Columns.Weight] = 1.0
    dataset, model, labels = Dataset.construct(interactions), PEERS[peer](epochs), Labels(folder)
    started = time.monotonic()
    model.fit(dataset)
    trained = time.monotonic()
    print(f"{peer}: trained in {trained - started:.0f} s", flush=True)

    seen = interactions.groupby(Columns.User)[Columns.Item].unique()
    known = dataset.item_id_map.size
    users = np.array(list(labels.rows))
    for block in np.array_split(users, -(-len(users) // USERS_AT_ONCE)):
        ranked = model.recommend(block, dataset, k=known, filter_viewed=False)
        for user, own in ranked.groupby(Columns.User):
            items, scores = own[Columns.Item].to_numpy(np.int64), own[Columns.Score].to_numpy()
            labels.score(user, items, scores, seen[user])
    labels.write(peer, started, trained)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
