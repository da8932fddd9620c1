"""Pages: escaped, complete, and with their style inside."""

from __future__ import annotations

import re

import pytest
from jinja2 import UndefinedError

from expectations.page import TEMPLATES, render


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hello.html.j2").write_text(
        '{% extends "page.html.j2" %}{% block title %}Hello{% endblock %}'
        "{% block content %}<p>{{ name }}</p>{% endblock %}"
    )
    return tmp_path


def test_a_page_has_its_style_inside_and_loads_nothing(folder):
    page = render("hello.html.j2", {"name": "Ann"}, folder)
    assert "<title>Hello</title>" in page and "<p>Ann</p>" in page
    assert (TEMPLATES / "style.css").read_text(encoding="utf-8").strip() in page
    assert not re.search(r"https?:|@import|url\(|<link|<script", page)


def test_text_is_escaped(folder):
    assert "<p>&lt;b&gt;r&amp;d&lt;/b&gt;</p>" in render("hello.html.j2", {"name": "<b>r&d</b>"}, folder)


def test_a_missing_value_is_an_error(folder):
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        render("hello.html.j2", {}, folder)
