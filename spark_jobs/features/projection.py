"""Vectors of items from their links: random projection and message passing, as sums over links.

Links are rows of `item_index`, `node` (a 64-bit hash) and `weight` (a whole number). Vectors are rows of
`item_index` and `vector`, array<float> of unit length. What a node stands for, edge or tag, is not known
here. The caller says which items are known; only these send messages.

Sums run in numpy inside `mapInArrow`, over one row per link of the catalogue, never one per event. A sum
is exact in any order of its rows: weights are whole numbers, and vectors hold multiples of 2^-20, which
float32 represents exactly. Rows are streamed, so an entity with a million items needs no more memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

ONE = 1 << 20
"""A vector element of 1, in the units in which sums are computed."""


def signs(nodes: np.ndarray, width: int) -> np.ndarray:
    """Start vectors: int64 [n, width] of 1 and -1, a function only of the nodes' hashes (int64 [n]).

    Bits of SplitMix64 (Steele, Lea and Flood, 2014) seeded with the hash.
    """
    words = -(-width // 64)
    steps = np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = nodes.astype(np.uint64)[:, None] + steps
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    bits = np.unpackbits(mixed.astype("<u8").view(np.uint8), axis=1, bitorder="little")
    return 2 * bits[:, :width].astype(np.int64) - 1


def sums_by_key(keys: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys, ascending, int64 [n], and the sum of each key's rows, int64 [n, width]."""
    order = np.argsort(keys, kind="stable")
    distinct, first = np.unique(keys[order], return_index=True)
    return distinct, np.add.reduceat(vectors[order], first, axis=0)


def at_unit_length(sums: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1 and rounded to multiples of 2^-20, float32; zeros stay zeros."""
    lengths = np.sqrt(np.square(sums.astype(np.float64)).sum(axis=1, keepdims=True))
    units = np.divide(sums, lengths, out=np.zeros(sums.shape), where=lengths > 0)
    return (np.rint(units * ONE) / ONE).astype(np.float32)


def unit_sums(rows: DataFrame, key: str, width: int) -> DataFrame:
    """`key` and `vector`: the sum of weight times vector over a key's rows, at unit length.

    `rows` has `key`, `weight` and either `vector` or, for start vectors, `node`.
    """
    start = "vector" not in rows.columns
    schema = f"{key} {rows.schema[key].dataType.simpleString()}, vector array<float>"
    given = rows.select(key, F.col("weight").cast("bigint").alias("weight"), "node" if start else "vector")
    return given.repartition(key).mapInArrow(_summing(key, width, start), schema)


def _summing(key: str, width: int, start: bool) -> Callable:
    """For `mapInArrow`: the sums of one partition, which holds all rows of its keys."""

    def sum_partition(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        keys, sums, kind = np.empty(0, np.int64), np.empty((0, width), np.int64), None
        for batch in batches:
            kind = batch.schema.field(key).type
            if start:
                vectors = signs(batch.column("node").to_numpy(), width)
            else:
                flat = batch.column("vector").flatten().to_numpy()
                vectors = np.rint(flat.reshape(-1, width).astype(np.float64) * ONE).astype(np.int64)
            weighted = vectors * batch.column("weight").to_numpy()[:, None]
            keys = np.concatenate([keys, batch.column(key).to_numpy().astype(np.int64)])
            keys, sums = sums_by_key(keys, np.concatenate([sums, weighted]))
        if len(keys):
            flat = pyarrow.array(at_unit_length(sums).ravel())
            lists = pyarrow.ListArray.from_arrays(np.arange(len(keys) + 1, dtype=np.int32) * width, flat)
            yield pyarrow.record_batch({key: pyarrow.array(keys).cast(kind), "vector": lists})

    return sum_partition


def projected(links: DataFrame, width: int) -> DataFrame:
    """`item_index` and `vector`: each item's weighted sum of its nodes' start vectors."""
    return unit_sums(links.select("item_index", "weight", "node"), "item_index", width)


def propagated(links: DataFrame, senders: DataFrame, vectors: DataFrame, width: int) -> DataFrame:
    """One round, item → node → item: new `vectors` of all items, from those of the `senders`.

    A node's vector is the mean direction of the senders linked to it; an item's is the weighted sum over
    its nodes that have a vector.
    """
    sending = vectors.join(senders.select("item_index"), on="item_index", how="left_semi")
    sent = links.select("item_index", "node").join(sending, on="item_index", how="inner")
    nodes = unit_sums(sent.withColumn("weight", F.lit(1)), "node", width)
    return unit_sums(links.join(nodes, on="node", how="inner"), "item_index", width)


def message_passing(links: DataFrame, senders: DataFrame, width: int, rounds: int) -> DataFrame:
    """`item_index` and `vector` of every item with links: the sum of the start and all rounds, at unit length.

    Each round is computed immediately and its lineage cut, because two later steps read it.
    """
    vectors = projected(links, width).localCheckpoint()
    total = vectors
    for _ in range(rounds):
        vectors = propagated(links, senders, vectors, width).localCheckpoint()
        total = total.unionByName(vectors)
    return unit_sums(total.withColumn("weight", F.lit(1)), "item_index", width)
