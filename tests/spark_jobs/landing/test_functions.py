"""The functions that mappings may call: known to Spark, and each a function of its arguments."""

from __future__ import annotations

import re

from pipeline.settings import CHECKOUT
from spark_jobs.landing.functions import ALLOWED, FUNCTIONS, why_refused

_OUTSIDE = re.compile(
    "rand|uuid|now|current|shuffle|input_file|monotonic|partition_id|reflect|java|xpath|avro|protobuf|session|user|version"
)


def test_every_function_is_one_of_sparks_that_makes_one_value_of_a_row(spark):
    registry = spark._jvm.org.apache.spark.sql.catalyst.analysis.FunctionRegistry.builtin()
    names = registry.listFunction()
    groups = {}
    for index in range(names.size()):
        name = names.apply(index)
        groups[name.funcName()] = registry.lookupFunction(name).get().getGroup()
    # CASE is syntax, and may be named in the list for people.
    assert {name for name in FUNCTIONS if name not in groups} <= {"case"}
    forbidden = {"agg_funcs", "window_funcs", "generator_funcs", "xml_funcs", "misc_funcs"}
    assert {name for name in FUNCTIONS if groups.get(name) in forbidden} <= {"typeof"}
    assert not [name for name in FUNCTIONS if _OUTSIDE.search(name)]


def test_no_function_is_named_twice():
    assert sorted(FUNCTIONS) == sorted(name for names in ALLOWED.values() for name in names.split())


def test_the_page_for_people_lists_them():
    page = (CHECKOUT / "docs" / "mappings.md").read_text()
    for kind, names in ALLOWED.items():
        assert f"- **{kind}**: " + ", ".join(f"`{name}`" for name in names.split()) in page.replace(
            "\n  ", " "
        )


def test_a_refusal_says_why():
    assert why_refused("stack", is_aggregate=False) == "makes several rows of one line"
    assert why_refused("sum", is_aggregate=True) == "makes one row of several lines"
    assert why_refused("reflect", is_aggregate=False) == "is not on the list of functions"
