"""An empty home, and services that only sleep."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.local import control
from pipeline.settings import Settings


@pytest.fixture
def empty_home(tmp_path: Path) -> Settings:
    """Settings of a home folder that does not exist yet, whose path has a space."""
    return Settings.at(tmp_path / "a home")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every service counts as healthy at once."""
    monkeypatch.setattr(control, "_answers", lambda service: True)
