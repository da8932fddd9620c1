"""`item_features`: language, graph and annotation vectors of every item, the model's frozen inputs.

In: `items` and `events` at their pinned versions, and the text vectors that earlier cycles made.
Out: the cycle's partition of `item_features`, new rows of `text_vectors`. It knows nothing of the
vocabulary: an item has its vectors whether or not it has a token.

Leakage. What is fitted (document frequencies, the vectors of graph entities) is fitted on the items
known at the split: those with an event or a launch by then. Items that come later are only
transformed, each from its own text, edges and tags; tags set after the split are not seen.

Graph. Nodes are items and entities, an entity being a pair (relation, entity). An entity starts
with a random vector of signs (a hash of its name), an item with the sum over its entities,
weighted by their rarity. In each round a known entity becomes the mean direction of its known
items, and an item the weighted sum over its known entities. The item's vector is the normalised
sum over the start and all rounds, so that items sharing a rare entity lie close, and so do, less
so, items two steps apart (random projection of a graph as in FastRP, Chen et al., 2019). Tags are
projected likewise, without rounds.
"""

from __future__ import annotations

import math

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs import history
from spark_jobs.config import Job
from spark_jobs.features import language
from spark_jobs.features.projection import message_passing, projected
from spark_jobs.figures import ItemFeaturesFigures, JobResult
from spark_jobs.lake import delta

WEIGHT_UNIT = 1024
"""Weights are whole numbers, so that sums do not depend on their order."""


def known_items(items: DataFrame, until_split: DataFrame, split_us: int) -> DataFrame:
    """`item_index` of the items that have an event, or a launch date, up to the split."""
    seen = until_split.select("item_id").distinct().withColumn("seen", F.lit(True))
    return (
        items.select("item_id", "item_index", "launched_at")
        .join(seen, on="item_id", how="left")
        .where(F.col("seen") | (F.unix_micros("launched_at") <= split_us))
        .select("item_index")
    )


def graph_links(items: DataFrame) -> DataFrame:
    """Distinct pairs of `item_index` and `node`, the hash of an entity (relation, entity)."""
    edges = items.select("item_index", F.explode("edges").alias("edge"))
    return edges.select("item_index", F.xxhash64("edge.relation", "edge.entity").alias("node")).distinct()


def tag_links(items: DataFrame, split_us: int) -> DataFrame:
    """Distinct pairs of `item_index` and `node`, the hash of a tag set up to the split or undated."""
    tags = items.select("item_index", F.explode("tags").alias("tag"))
    visible = F.col("tag.tagged_at").isNull() | (F.unix_micros("tag.tagged_at") <= split_us)
    return tags.where(visible).select("item_index", F.xxhash64("tag.tag").alias("node")).distinct()


def weighted(links: DataFrame, known: DataFrame) -> DataFrame:
    """`links` with `weight` = ln((1 + N) / (1 + n)) + 1, in units of 1/1024.

    N counts the known items that have links, n those linked to the node. A node that no known item
    has weighs most, and only in the items that have it.
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
    """`item_index`, `text` (title and description) and `text_digest` of the items that have any text."""
    filled = (F.nullif(F.trim(name), F.lit("")) for name in ("title", "description"))
    text = F.concat_ws(". ", *filled)
    return (
        items.select("item_index", text.alias("text"))
        .where(F.length("text") > 0)
        .withColumn("text_digest", F.sha2("text", 256))
    )


def stored_text_vectors(spark: SparkSession, job: Job, wanted: DataFrame) -> tuple[DataFrame, int, int]:
    """`text_vectors` with every wanted text in it, its version, and how many texts were encoded now."""
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
        # Small tasks keep all cores busy to the end; a worker loads the encoder once.
        tasks = min(math.ceil(count / 64), 8 * spark.sparkContext.defaultParallelism)
        encoded = (
            missing.repartition(tasks)
            .mapInPandas(language.encoding(precision), tables.TEXT_VECTORS.ddl)
            .persist()
        )
        encoded.count()  # on all cores: the append that follows is one task
        version = delta.append_new(spark, encoded, tables.TEXT_VECTORS, job.lake, job.source.name)
        encoded.unpersist()
        stored = delta.read(spark, *place, version).where(of_encoder)
    missing.unpersist()
    return stored, version, count


def item_features(items: DataFrame, vectors: dict[str, tuple[DataFrame, int]], cycle: str) -> DataFrame:
    """Rows of `item_features` from (`item_index`, `vector`) and width by modality; zeros for absent ones."""
    rows = items.select("item_index", F.lit(cycle).alias("cycle"))
    for name, (found, width) in vectors.items():
        absent = F.array_repeat(F.lit(0.0), width).cast("array<float>")
        rows = rows.join(found.withColumnRenamed("vector", name), on="item_index", how="left")
        rows = rows.withColumn(name, F.coalesce(name, absent))
    return rows.select(*tables.ITEM_FEATURES.column_names)


def main(spark: SparkSession, job: Job) -> JobResult:
    """Writes the cycle's item features, after encoding the texts that no earlier cycle has encoded."""
    config, split_us = job.features, history.micros(job.split)
    items = delta.read_pinned(spark, job, tables.ITEMS)
    until_split = history.up_to(delta.read_pinned(spark, job, tables.EVENTS), job.split)
    known = known_items(items, until_split, split_us).localCheckpoint()
    versions, texts_encoded = {}, 0

    language_vectors = items.limit(0).select("item_index", F.array().cast("array<float>").alias("vector"))
    if config.language_encoder != "none":
        wanted = texts(items)
        stored, version, texts_encoded = stored_text_vectors(spark, job, wanted)
        language_vectors = wanted.join(stored, on="text_digest", how="inner").select("item_index", "vector")
        versions[tables.TEXT_VECTORS.name] = version
    edges = weighted(graph_links(items), known).localCheckpoint()
    graph = message_passing(edges, known, config.graph_width, config.graph_rounds)
    annotation = projected(weighted(tag_links(items, split_us), known), config.annotation_width)
    vectors = {
        "language": (language_vectors, config.widths["language"]),
        "graph": (graph, config.graph_width),
        "annotation": (annotation, config.annotation_width),
    }
    rows = item_features(items, vectors, job.cycle)
    version = history.replace_cycle(spark, rows, tables.ITEM_FEATURES, job)
    versions[tables.ITEM_FEATURES.name] = version
    written = history.read_cycle(spark, tables.ITEM_FEATURES, job, version)
    nonzero = (F.count_if(F.exists(name, lambda x: x != 0)).alias(name) for name in vectors)
    counts = written.agg(F.count(F.lit(1)).alias("items"), *nonzero).first().asDict()
    figures = ItemFeaturesFigures(known.count(), texts_encoded, counts.pop("items"), counts)
    return JobResult(versions=versions, figures=figures)
