"""The store that a client speaks to, and what asking for one leaves behind."""

from __future__ import annotations

import os

import mlflow
import pytest

from pipeline import tracking
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
