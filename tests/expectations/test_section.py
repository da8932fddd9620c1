"""Sections are frozen, refuse unknown keys and carry the docstrings of their fields."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from expectations.section import Section


class Rooms(Section):
    doors: int = 2
    """Doors of one room."""


def test_an_unknown_key_is_refused():
    with pytest.raises(ValidationError, match="windows"):
        Rooms.model_validate({"windows": 3})


def test_a_section_is_frozen():
    rooms = Rooms()
    with pytest.raises(ValidationError, match="frozen"):
        rooms.doors = 3


def test_a_docstring_under_a_field_describes_it():
    assert Rooms.model_fields["doors"].description == "Doors of one room."
