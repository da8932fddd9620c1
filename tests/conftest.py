"""Fixtures that every test folder shares: one Spark session for all, and an empty home.

Files that need Spark run first: they are the long ones, and a long file that comes last runs alone while the
other process has nothing left to do.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pyspark.sql import SparkSession
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from pipeline.settings import CHECKOUT, Settings

# Airflow writes its settings where it is first imported; a person's home folder is no place for them.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="reprise-tests-airflow-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(CHECKOUT / "dags" / "plugins")
# py4j says goodbye at the interpreter's end, when pytest has closed what it would say it on.
logging.getLogger("py4j").setLevel(logging.WARNING)
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files with a test of Spark before the others; each part keeps its order."""
    with_spark = {item.path for item in items if "spark" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in with_spark)


@pytest.fixture(scope="session", autouse=True)
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's tables are made once, by its some forty migrations (a second or more); a later new home gets
    a copy of them, which is what the migrations would make."""
    from mlflow.store.db import utils

    made = tmp_path_factory.mktemp("mlflow") / "tables.db"
    make = utils._initialize_tables

    def initialize(engine: Engine) -> None:
        if engine.url.get_backend_name() != "sqlite":
            return make(engine)
        ours = engine.url.database
        if not made.exists():
            make(engine)
        pair = (made, ours) if made.exists() else (ours, made)
        with closing(sqlite3.connect(pair[0])) as source, closing(sqlite3.connect(pair[1])) as target:
            source.backup(target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "_initialize_tables", initialize)
        yield


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """The one session of the test run, with the jars that set-up fetched."""
    from spark_jobs.lake.session import get_session
    from spark_jobs.settings import LOCAL

    jars = Settings.from_environment().jars
    if not list(jars.glob("*.jar")):
        pytest.fail(f"{jars} holds no Delta jars; run `make setup` once, with network", pytrace=False)
    with pytest.MonkeyPatch.context() as patch:
        # A handful of rows each. Not on the session alone: a stage that asks for it sets these again.
        patch.setitem(LOCAL, "spark.sql.shuffle.partitions", "2")
        session = get_session("local[2]", "tests", str(jars))
        yield session
        session.stop()


@pytest.fixture(scope="session")
def airflow_tables() -> None:
    """The tables of Airflow's database, in the SQLite file of the test run."""
    from airflow import models, settings
    from airflow.models.base import Base
    from airflow.utils.db import synchronize_log_template

    models.import_all_models()
    Base.metadata.create_all(settings.engine)
    synchronize_log_template()


@pytest.fixture
def airflow_session(airflow_tables: None) -> Iterator[Session]:
    """A transaction of Airflow's database that is rolled back after the test."""
    from airflow import settings

    with settings.Session() as session:
        yield session
        session.rollback()


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    """Settings of an empty home folder; the jars are the checkout's own."""
    settings = Settings.at(tmp_path / "home", data=str(Settings.from_environment().data))
    settings.home.mkdir()
    settings.jars.symlink_to(Settings.from_environment().jars, target_is_directory=True)
    return settings
