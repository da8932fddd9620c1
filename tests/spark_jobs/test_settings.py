"""What `[spark]` may hold."""

from __future__ import annotations

import re
import tomllib

import pytest

from pipeline import presets
from pipeline.config import ConfigError
from pipeline.settings import CHECKOUT
from spark_jobs.settings import RESULTS, as_settings, defaults, joined

GUIDE = CHECKOUT / "docs" / "cluster.md"
SOURCE = """
[source]
name = "tiny"
[source.events]
files = ["log.csv"]
format = "csv"
user = "user"
item = "item"
time = "time"
[spark]
"""


def test_dotted_quoted_and_short_names_are_the_same_settings():
    content = tomllib.loads(
        """
        executor.memory = "8g"
        executor.cores = 4
        eventLog.enabled = true
        jars.packages = ["a:b:1", "c:d:2"]
        "spark.sql.catalog.lake" = "org.apache.iceberg.spark.SparkCatalog"
        "spark.sql.catalog.lake.type" = "hadoop"
        sql.extensions = "a.B"
        """
    )
    assert as_settings(content) == {
        "spark.executor.memory": "8g",
        "spark.executor.cores": "4",
        "spark.eventLog.enabled": "true",
        "spark.jars.packages": "a:b:1,c:d:2",
        "spark.sql.catalog.lake": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.lake.type": "hadoop",
        "spark.sql.extensions": "a.B",
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            'sql.session.timeZone = "Europe/Amsterdam"',
            "spark.sql.session.timeZone cannot be set, since results",
        ),
        ('"spark.sql.ansi.enabled" = false', "spark.sql.ansi.enabled cannot be set, since results"),
        ('sql.legacy.timeParserPolicy = "LEGACY"', "spark.sql.legacy.timeParserPolicy cannot be set"),
        ("sql.files.ignoreCorruptFiles = true", "spark.sql.files.ignoreCorruptFiles cannot be set"),
        ('master = "yarn"', "spark.master cannot be set, the master is REPRISE_SPARK_MASTER"),
        ('hadoop.fs.s3a.secret.key = "hush"', "spark.hadoop.fs.s3a.secret.key holds a secret"),
        ('hadoop.fs.s3a.access.key = "hush"', "spark.hadoop.fs.s3a.access.key holds a secret"),
        (
            'executorEnv.AWS_SECRET_ACCESS_KEY = "hush"',
            "spark.executorEnv.AWS_SECRET_ACCESS_KEY holds a secret",
        ),
        (
            'kubernetes.authenticate.oauthToken = "hush"',
            "spark.kubernetes.authenticate.oauthToken holds a secret",
        ),
        ('jars.repositories = "https://me:hush@host/maven"', "spark.jars.repositories holds a secret"),
        ('driver.extraJavaOptions = "-Dpassword=hush"', "spark.driver.extraJavaOptions holds a secret"),
        ('executor.memory = ""', "spark.executor.memory has no value that Spark takes"),
        ("executor.memory = [[1]]", "spark.executor.memory has no value that Spark takes"),
        ('"spark.a\\nspark.b" = "1"', "is no name of a setting of Spark"),
        ('executor.memory = "1g\\nspark.x 1"', "spark.executor.memory has a line break"),
    ],
)
def test_what_may_not_be_set_is_refused_by_its_name_when_the_configuration_is_read(line, words, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(SOURCE + line)
    with pytest.raises(ConfigError) as refused:
        presets.load(str(path))
    assert words in str(refused.value) and "hush" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_every_setting_that_results_depend_on_is_refused_and_no_other_changes_the_digest(tmp_path):
    for name in set(RESULTS) - {"spark.sql.extensions"}:
        with pytest.raises(ValueError, match=name.replace(".", "[.]")):
            as_settings({name: "anything"})
    path = tmp_path / "tiny.toml"
    digests = set()
    for line in ("", 'executor.memory = "8g"\nkubernetes.authenticate.oauthTokenFile = "/run/token"'):
        path.write_text(SOURCE + line)
        digests.add(presets.load(str(path)).digest)
    assert len(digests) == 1


def test_lists_are_joined_and_options_of_the_jvm_keep_their_order():
    assert joined("spark.jars", "/a.jar", None, "/b.jar, /a.jar") == "/a.jar,/b.jar"
    assert joined("spark.driver.extraJavaOptions", "-Xmn1g", '-Da="b c" -Xmn2g') == '-Xmn1g -Da="b c" -Xmn2g'


def test_defaults_are_read_as_spark_reads_them(tmp_path):
    assert defaults(tmp_path) == {}
    (tmp_path / "spark-defaults.conf").write_text(
        "# comment\n! too\n\n  spark.a   1  \nspark.b=2=3\nspark.c : x\nspark.d one \\\n   two\nspark.e a\\\\b\n"
    )
    assert defaults(tmp_path) == {
        "spark.a": "1", "spark.b": "2=3", "spark.c": "x", "spark.d": "one two", "spark.e": "a\\b",
    }  # fmt: skip


@pytest.mark.parametrize(
    "block", re.findall(r"^```toml\n\[spark\]\n(.*?)^```", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
)
def test_what_the_guide_shows_is_accepted(block, tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(SOURCE + block)
    assert len(presets.load(str(path)).spark) == sum(" = " in line for line in block.splitlines())
