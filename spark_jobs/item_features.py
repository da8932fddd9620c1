"""Table `item_features`: language, graph and annotation vectors of every item, the model's frozen inputs.

Reads `items` and `events` at their pinned versions, and the text vectors that earlier cycles stored.
Writes the cycle's partition of `item_features` and new rows of `text_vectors`. The vocabulary plays no
part: an item has vectors whether or not it has a token.

Leakage. Everything fitted (document frequencies, the vectors of graph entities) is fitted on the items
known at the split: those with an event or a launch by then. Later items are only transformed, each from
its own text, edges and tags. Tags set after the split are ignored.

Graph. Nodes are items and entities; an entity is a pair (relation, entity). An entity starts with a random
vector of signs (a hash of its name), an item with the sum over its entities, weighted by their rarity. In
each round a known entity takes the mean direction of its known items, and an item the weighted sum over
its known entities. The item's vector is the normalised sum over the start and all rounds: items that share
a rare entity get close vectors, items two steps apart less close ones (random projection of a graph as in
FastRP, Chen et al., 2019). Tags are projected in the same way, without rounds.
"""

from __future__ import annotations

import math
from datetime import datetime

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from expectations.instants import timestamp_sql
from spark_jobs.config import Job
from spark_jobs.features import language
from spark_jobs.features.projection import message_passing, projected
from spark_jobs.figures import ItemFeaturesFigures, JobResult
from spark_jobs.histories.spans import up_to
from spark_jobs.lake import delta

WEIGHT_UNIT = 1024
"""Weights are whole numbers, so that sums do not depend on their order."""


def known_items(items: DataFrame, until_split: DataFrame, split: datetime) -> DataFrame:
    """`item_index` of the items with an event or a launch up to the split; `until_split` are the events up
    to it."""
    seen = until_split.select("item_id").distinct().withColumn("seen", F.lit(True))
    return (
        items.select("item_id", "item_index", "launched_at")
        .join(seen, on="item_id", how="left")
        .where(F.col("seen") | (F.expr(f"launched_at <= {timestamp_sql(split)}")))
        .select("item_index")
    )


def graph_links(items: DataFrame) -> DataFrame:
    """Distinct pairs of `item_index` and `node`, the hash of an entity (relation, entity)."""
    edges = items.select("item_index", F.explode("edges").alias("edge"))
    return edges.select("item_index", F.xxhash64("edge.relation", "edge.entity").alias("node")).distinct()


def tag_links(items: DataFrame, split: datetime) -> DataFrame:
    """Distinct pairs of `item_index` and `node`, the hash of a tag; tags dated after the split are dropped."""
    tags = items.select("item_index", F.explode("tags").alias("tag"))
    visible = f"tag.tagged_at IS NULL OR tag.tagged_at <= {timestamp_sql(split)}"
    return tags.where(visible).select("item_index", F.xxhash64("tag.tag").alias("node")).distinct()


def weighted(links: DataFrame, known: DataFrame) -> DataFrame:
    """`links` with `weight` = ln((1 + N) / (1 + n)) + 1, in units of 1/1024.

    N is the number of known items with links, n the number of them linked to the node. A node without a
    known item weighs most, and affects only the items linked to it.
    """
    fitting = links.join(known, on="item_index", how="left_semi")
    total = fitting.agg(F.count_distinct("item_index").alias("total"))
    frequency = fitting.groupBy("node").agg(F.count(F.lit(1)).alias("frequency"))
    rarity = F.log((1 + F.col("total")) / (1 + F.coalesce("frequency", F.lit(0)))) + 1
    return (
        links.join(frequency, on="node", how="left")
        .crossJoin(F.broadcast(total))
        .select(
            "item_index",
            "node",
            F.round(rarity * WEIGHT_UNIT).cast("bigint").alias("weight"),
        )
    )


def texts(items: DataFrame) -> DataFrame:
    """`item_index`, `text` (title and description) and `text_digest` of the items that have text."""
    filled = (F.nullif(F.trim(name), F.lit("")) for name in ("title", "description"))
    text = F.concat_ws(". ", *filled)
    return (
        items.select("item_index", text.alias("text"))
        .where(F.length("text") > 0)
        .withColumn("text_digest", F.sha2("text", 256))
    )


def item_features(items: DataFrame, vectors: dict[str, tuple[DataFrame, int]], cycle: str) -> DataFrame:
    """Rows of `item_features`. `vectors` gives by modality a frame of `item_index` and `vector`, and the
    width; items without a vector get zeros."""
    rows = items.select("item_index", F.lit(cycle).alias("cycle"))
    for name, (of_items, width) in vectors.items():
        zeros = F.array_repeat(F.lit(0.0), width).cast("array<float>")
        rows = rows.join(of_items.withColumnRenamed("vector", name), on="item_index", how="left")
        rows = rows.withColumn(name, F.coalesce(name, zeros))
    return rows.select(*tables.ITEM_FEATURES.column_names)


def main(spark: SparkSession, job: Job) -> JobResult:
    """Encodes the texts that no earlier cycle has encoded, and writes the cycle's item features."""
    config = job.features
    items = delta.read_pinned(spark, job, tables.ITEMS)
    until_split = up_to(delta.read_pinned(spark, job, tables.EVENTS), job.split)
    known = known_items(items, until_split, job.split).localCheckpoint()
    versions, texts_encoded = {}, 0

    language_vectors = items.limit(0).select("item_index", F.array().cast("array<float>").alias("vector"))
    if config.language_encoder != "none":
        wanted = texts(items)
        stored, version, texts_encoded = _text_vectors(spark, job, wanted)
        language_vectors = wanted.join(stored, on="text_digest", how="inner").select("item_index", "vector")
        versions[tables.TEXT_VECTORS.name] = version
    edges = weighted(graph_links(items), known).localCheckpoint()
    graph = message_passing(edges, known, config.graph_width, config.graph_rounds)
    annotation = projected(weighted(tag_links(items, job.split), known), config.annotation_width)
    vectors = {
        "language": (language_vectors, config.widths["language"]),
        "graph": (graph, config.graph_width),
        "annotation": (annotation, config.annotation_width),
    }
    rows = item_features(items, vectors, job.cycle)
    version = delta.replace_cycle(spark, rows, tables.ITEM_FEATURES, job)
    versions[tables.ITEM_FEATURES.name] = version
    written = delta.read_cycle(spark, job, tables.ITEM_FEATURES, version)
    nonzero = (F.count_if(F.exists(name, lambda x: x != 0)).alias(name) for name in vectors)
    counts = written.agg(F.count(F.lit(1)).alias("items"), *nonzero).first().asDict()
    figures = ItemFeaturesFigures(known.count(), texts_encoded, counts.pop("items"), counts)
    return JobResult(versions=versions, figures=figures)


def _text_vectors(spark: SparkSession, job: Job, wanted: DataFrame) -> tuple[DataFrame, int, int]:
    """Adds the wanted texts that `text_vectors` lacks. Returns the encoder's rows of the table, its version
    and the number of texts encoded."""
    place = (job.lake, job.source.name, tables.TEXT_VECTORS)
    precision = language.precision()
    of_encoder = F.col("encoder") == language.encoder_name(precision)
    version = delta.create(spark, *place)
    stored = delta.read(spark, *place, version).where(of_encoder)
    missing = (
        wanted.select("text_digest", "text")
        .dropDuplicates(["text_digest"])
        .join(stored, on="text_digest", how="left_anti")
        .persist()
    )
    count = missing.count()
    if count:
        # Small tasks keep all cores busy to the end; each worker loads the encoder once.
        tasks = min(math.ceil(count / 64), 8 * spark.sparkContext.defaultParallelism)
        encoded = (
            missing.repartition(tasks)
            .mapInPandas(language.encoding(precision), tables.TEXT_VECTORS.ddl)
            .persist()
        )
        encoded.count()  # computes it on all cores: the append that follows is one task
        version = delta.append_new(spark, encoded, tables.TEXT_VECTORS, job.lake, job.source.name)
        encoded.unpersist()
        stored = delta.read(spark, *place, version).where(of_encoder)
    missing.unpersist()
    return stored, version, count
