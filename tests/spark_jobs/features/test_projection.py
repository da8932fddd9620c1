"""`projection`: exact sums, random signs, and messages that pass from item to node to item."""

from __future__ import annotations

import math

import numpy as np

from spark_jobs.features import projection

LINKS = "item_index int, node bigint, weight bigint"


def vectors_of(frame):
    return {row["item_index"]: np.array(row["vector"]) for row in frame.collect()}


def test_signs_are_balanced_fixed_and_differ_between_nodes():
    matrix = projection.signs(np.arange(200), 100)
    assert matrix.shape == (200, 100)
    assert set(np.unique(matrix)) == {-1, 1}
    assert abs(matrix.mean()) < 4 / math.sqrt(matrix.size)
    products = matrix @ matrix.T / 100
    assert np.abs(products[~np.eye(200, dtype=bool)]).max() < 0.6
    assert (projection.signs(np.array([7]), 100) == matrix[7]).all()
    assert (projection.signs(np.array([7]), 30) == matrix[7, :30]).all()


def test_sums_by_key_add_the_rows_of_a_key():
    keys, sums = projection.sums_by_key(np.array([5, 2, 5]), np.array([[1, 2], [3, 4], [10, 20]]))
    assert keys.tolist() == [2, 5]
    assert sums.tolist() == [[3, 4], [11, 22]]


def test_unit_length_keeps_zeros_and_rounds_to_what_float32_holds():
    units = projection.at_unit_length(np.array([[3, 4], [0, 0]]))
    assert np.allclose(units, [[3 / 5, 4 / 5], [0, 0]], atol=2**-20)
    assert (units.astype(np.float64) * 2**20 == np.rint(units.astype(np.float64) * 2**20)).all()


def test_projection_is_the_weighted_sum_of_signs_at_unit_length(spark):
    links = spark.createDataFrame([(0, 11, 3), (0, -12, 1), (1, -12, 1)], LINKS)
    found = vectors_of(projection.projected(links, 8))
    eleven, twelve = projection.signs(np.array([11, -12]), 8)
    whole = 3 * eleven + twelve
    assert np.allclose(found[0], whole / np.linalg.norm(whole), atol=2**-20)
    assert np.allclose(found[1], twelve / math.sqrt(8), atol=2**-20)


def test_messages_pass_from_item_to_node_to_item(spark):
    # Items 0 and 1 share node 10, items 1 and 2 node 11; item 3 has a node of its own.
    links = spark.createDataFrame([(0, 10, 1), (1, 10, 1), (1, 11, 1), (2, 11, 1), (3, 12, 1)], LINKS)
    start = vectors_of(projection.projected(links, 256))
    passed = vectors_of(projection.message_passing(links, links.select("item_index").distinct(), 256, 2))
    assert all(abs(np.linalg.norm(vector) - 1) < 1e-4 for vector in passed.values())
    assert abs(start[0] @ start[2]) < 0.25  # two steps apart: only chance
    assert passed[0] @ passed[2] > 0.3
    assert passed[0] @ passed[1] > passed[0] @ passed[2]
    assert abs(passed[0] @ passed[3]) < 0.25


def test_one_round_equals_numpy(spark):
    links = spark.createDataFrame([(0, 10, 2), (1, 10, 1), (1, 11, 3), (2, 11, 1)], LINKS)
    senders = spark.createDataFrame([(0,), (1,)], "item_index int")
    start = projection.projected(links, 32)
    item = vectors_of(start)
    ten = item[0] + item[1]
    ten, eleven = ten / np.linalg.norm(ten), item[1]  # item 2 is not known: it sends nothing
    one = 1 * ten + 3 * eleven
    found = vectors_of(projection.propagated(links, senders, start, 32))
    assert np.allclose(found[0], ten, atol=1e-5)
    assert np.allclose(found[1], one / np.linalg.norm(one), atol=1e-5)
    assert np.allclose(found[2], eleven, atol=1e-5)
