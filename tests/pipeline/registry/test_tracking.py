"""The store that a client speaks to, what asking for one leaves behind, and what a version takes."""

from __future__ import annotations

import os

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from pipeline.registry import tracking
from pipeline.settings import Settings


@pytest.mark.parametrize("told", [None, "http://elsewhere:5000"])
def test_a_client_speaks_to_its_home_and_tells_no_child_of_it(tmp_path, monkeypatch, told):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if told:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", told)
    settings = Settings.at(tmp_path)
    tracking.client(settings)
    assert mlflow.get_tracking_uri() == settings.tracking_uri
    assert os.environ.get("MLFLOW_TRACKING_URI") == told


def test_a_served_context_field_has_the_type_of_its_column():
    schema = tracking._signature(("page", "position")).inputs

    def checked(**fields):
        history = [{"item_id": "a", "event_at": "2024-01-01", **fields}]
        mlflow.models.validate_schema(pd.DataFrame([{"history": history}]), schema)

    checked(page="home", position=3)
    checked()
    with pytest.raises(MlflowException, match="`position`"):
        checked(position="top")
    with pytest.raises(MlflowException, match="`page`"):
        checked(page=3)
