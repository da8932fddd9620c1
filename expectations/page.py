"""Self-contained HTML pages from Jinja templates, with one style sheet; they load nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).resolve().parent / "templates"
"""Folder of `page.html.j2`, which every page extends, and of the style sheet."""


@cache
def environment(*folders: Path) -> Environment:
    """Jinja environment over the folders and TEMPLATES; text is escaped, a missing value is an error."""
    templates = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["stylesheet"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return templates


def render(template: str, values: dict[str, Any], *folders: Path) -> str:
    """The page's HTML. `folders` are searched before TEMPLATES. Raises jinja2.UndefinedError when a value is
    missing."""
    return environment(*folders).get_template(template).render(values)
