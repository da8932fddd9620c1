"""`item_features`: the vectors, what they are fitted on, and that a rerun gives the same ones."""

from __future__ import annotations

import math
from datetime import timedelta

import numpy as np
from pyspark.sql import functions as F

from expectations import tables
from spark_jobs import item_features
from spark_jobs.features import language, projection
from spark_jobs.histories.spans import up_to
from tests.factories import PLANTED, START, events_frame, items_frame

HORROR, COMEDY = ("genre", "horror"), ("genre", "comedy")


def known_frame(spark, *indices):
    return spark.createDataFrame([(index,) for index in indices], "item_index int")


def vectors_of(frame):
    return {row["item_index"]: np.array(row["vector"]) for row in frame.collect()}


def test_known_items_have_an_event_or_a_launch_up_to_the_split(spark):
    items = items_frame(
        spark,
        [
            {"item_id": "seen"},
            {"item_id": "launched", "launched_at": START},
            {"item_id": "later", "launched_at": START + timedelta(seconds=1)},
            {"item_id": "unknown"},
        ],
    )
    events = up_to(events_frame(spark, [("u", "seen", 0), ("u", "unknown", 1)]), START)
    known = item_features.known_items(items, events, START)
    assert sorted(row[0] for row in known.collect()) == [0, 1]


def test_weights_are_inverse_document_frequencies_of_the_known_items(spark):
    edges = [[HORROR, ("author", "a")], [HORROR], [HORROR, ("author", "new")]]
    items = items_frame(spark, [{"item_id": str(n), "edges": given} for n, given in enumerate(edges)])
    weighted = item_features.weighted(item_features.graph_links(items), known_frame(spark, 0, 1))
    found = sorted((row["item_index"], row["weight"]) for row in weighted.collect())
    both, one, none = (round((math.log(3 / (1 + n)) + 1) * 1024) for n in (2, 1, 0))
    assert found == sorted([(0, both), (0, one), (1, both), (2, both), (2, none)])


def test_tags_set_after_the_split_are_not_seen(spark):
    later = START + timedelta(seconds=1)
    tags = [("old", START), ("undated", None), ("late", later)]
    items = items_frame(spark, [{"item_id": "a", "tags": tags}])
    assert item_features.tag_links(items, START).count() == 2


def test_an_item_that_comes_later_changes_no_vector_and_has_its_own(spark):
    old = [{"item_id": "0", "edges": [HORROR, ("author", "a")]}, {"item_id": "1", "edges": [HORROR]}]
    new = [{"item_id": "2", "edges": [HORROR, ("author", "new")]}, {"item_id": "3", "edges": [COMEDY]}]
    known = known_frame(spark, 0, 1)

    def vectors(rows):
        links = item_features.weighted(item_features.graph_links(items_frame(spark, rows)), known)
        return vectors_of(projection.message_passing(links, known, 16, 2))

    before, after = vectors(old), vectors(old + new)
    assert all((before[index] == after[index]).all() for index in (0, 1))
    assert abs(np.linalg.norm(after[3]) - 1) < 1e-5  # an entity without a known item keeps its start vector


def test_texts_join_title_and_description(spark):
    items = items_frame(
        spark,
        [
            {"item_id": "both", "title": "Zork", "description": "A dungeon. "},
            {"item_id": "title", "title": "Zork", "description": ""},
            {"item_id": "description", "title": " ", "description": "A dungeon."},
            {"item_id": "none"},
        ],
    )
    found = {row["item_index"]: row["text"] for row in item_features.texts(items).collect()}
    assert found == {0: "Zork. A dungeon.", 1: "Zork", 2: "A dungeon."}


def test_a_rerun_changes_nothing_and_planted_rows_change_no_old_item(
    spark, plain_lake, planted_lake, rows_of, same
):
    job = plain_lake.job()
    result = item_features.main(spark, job)
    rows = rows_of(job, tables.ITEM_FEATURES, result)
    assert rows.count() == result.figures.items == len(plain_lake.log.items)
    assert result.figures.vectors_by_modality["graph"] == 30
    assert result.figures.vectors_by_modality["language"] == 0
    # Six items are launched late; of them one has no launch date and no event before the split.
    assert result.figures.known_items == 24
    assert result.figures.vectors_by_modality["annotation"] == len(
        {tag["item"] for tag in plain_lake.log.tags if tag["at"] <= job.split.isoformat()}
    )
    again = item_features.main(spark, job)
    assert again.figures == result.figures
    assert same(rows, rows_of(job, tables.ITEM_FEATURES, again))

    planted = item_features.main(spark, planted_lake.job())
    planted_index = len(planted_lake.log.items) - 1
    assert planted_lake.log.items[planted_index]["item"] == PLANTED
    others = rows_of(planted_lake.job(), tables.ITEM_FEATURES, planted)
    assert same(rows, others.where(F.col("item_index") < planted_index))


def test_texts_are_encoded_once(spark, plain_lake, rows_of):
    job = plain_lake.job(encoder="all-minilm-l6-v2")
    first = item_features.main(spark, job)
    assert first.figures.texts_encoded == first.figures.vectors_by_modality["language"] == 30
    second = item_features.main(spark, job)
    assert second.figures.texts_encoded == 0
    assert second.versions["text_vectors"] == first.versions["text_vectors"]
    row = rows_of(job, tables.ITEM_FEATURES, second).where("item_index = 3").first()
    item = plain_lake.log.items[3]
    alone = language.load(language.precision())(f"{item['title']}. {item['description']}")
    assert (np.array(row["language"], dtype=np.float32) == alone).all()
