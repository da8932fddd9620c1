"""A model of RePlay on an exported split; runs in an environment of its own (replay.txt).

    python replay_models.py FOLDER PEER SEED EPOCHS

Files in FOLDER: see label_ranks.py. Writes FOLDER/PEER.parquet, and FOLDER/PEER.json with the seconds of training and of
ranking. The model is that of `replay.nn`; RePlay reads sequences from Parquet files, which are left in FOLDER too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from label_ranks import Labels
from lightning import Callback, Trainer, seed_everything
from replay.data import FeatureHint, FeatureType
from replay.data.nn import ParquetModule, TensorFeatureInfo, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.output import InferenceOutput
from replay.nn.sequential import SasRec
from replay.nn.transform.template import make_default_sasrec_transforms

PEERS = ("replay-sasrec",)
NEWEST, WIDTH, BATCH = 100, 128, 128


class EpochLine(Callback):
    """Prints a line after every epoch, which can take minutes."""

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        loss = float(trainer.callback_metrics["train_loss_epoch"])
        print(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}: loss {loss:.4f}", flush=True)


class Ranking(Callback):
    """Ranks the labels of each batch's users, so that only one batch's scores exist at a time."""

    def __init__(self, labels: Labels, users: np.ndarray, items: np.ndarray, seen: pd.Series) -> None:
        """`users`: ids by row of the file; `items`: int64 [N] by place; `seen`: the history's items by user."""
        self.labels, self.users, self.items, self.seen = labels, users, items, seen

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: InferenceOutput,
        batch: dict[str, torch.Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Scores are float32 [B, N]."""
        for row, scores in zip(batch["row"].tolist(), outputs["logits"].numpy(), strict=True):
            user = self.users[row]
            self.labels.score(user, self.items, scores, self.seen[user])


def write_sequences(places: pd.Series, path: Path) -> None:
    """One line a user: `row`, the user's number in `places`, and `item`, the user's places by time."""
    sequences = pd.DataFrame({"row": np.arange(len(places)), "item": places.to_numpy()})
    sequences.to_parquet(path)


def data(folder: Path, schema: TensorSchema, padding: int) -> ParquetModule:
    """Batches of the two files; in training the last place of a sequence is a label only."""
    return ParquetModule(
        batch_size=BATCH,
        metadata={
            "train": {"item": {"shape": NEWEST + 1, "padding": padding}},
            "predict": {"row": {}, "item": {"shape": NEWEST, "padding": padding}},
        },
        transforms=make_default_sasrec_transforms(schema),
        train_path=str(folder / "train_sequences.parquet"),
        predict_path=str(folder / "label_sequences.parquet"),
    )


def main(folder: Path, peer: str, seed: int, epochs: int) -> None:
    if peer not in PEERS:
        raise ValueError(f"{peer} is none of {', '.join(PEERS)}")
    seed_everything(seed)
    interactions, labels = pd.read_parquet(folder / "interactions.parquet"), Labels(folder)
    started = time.monotonic()
    items = np.sort(interactions["item_index"].unique()).astype(np.int64)
    interactions["place"] = np.searchsorted(items, interactions["item_index"].to_numpy())
    by_time = interactions.sort_values("event_at", kind="stable").groupby("user_id")
    sequences = by_time.tail(NEWEST + 1).groupby("user_id")["place"].agg(list)
    users = np.array(list(labels.rows))
    write_sequences(sequences[sequences.str.len() > 1], folder / "train_sequences.parquet")
    write_sequences(sequences.loc[users].str[-NEWEST:], folder / "label_sequences.parquet")

    item = TensorFeatureInfo(
        "item",
        FeatureType.CATEGORICAL,
        is_seq=True,
        feature_hint=FeatureHint.ITEM_ID,
        cardinality=len(items),
        padding_value=len(items),
        embedding_dim=WIDTH,
    )
    schema = TensorSchema(item)
    # Its loss is cross-entropy over all items.
    model = LightningModule(
        SasRec.from_params(
            schema, embedding_dim=WIDTH, num_heads=4, num_blocks=2, max_sequence_length=NEWEST, dropout=0.2
        ),
        OptimizerFactory("adam", learning_rate=1e-3),
    )
    seen = interactions.groupby("user_id")["item_index"].unique()
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        deterministic=True,
        limit_val_batches=0,
        callbacks=[EpochLine(), Ranking(labels, users, items, seen)],
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
    )
    batches = data(folder, schema, padding=len(items))
    trainer.fit(model, datamodule=batches)
    trained = time.monotonic()
    print(f"{peer}: trained in {trained - started:.0f} s", flush=True)

    trainer.predict(model, datamodule=batches, return_predictions=False)
    labels.write(peer, started, trained)


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
