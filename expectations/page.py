"""Self-contained HTML pages: one template language, one style sheet, nothing fetched from anywhere.

In: a template and its values. Out: the text of a page whose style is inside it. It knows nothing of
expectations or cycles.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).resolve().parent / "templates"
"""Holds `page.html.j2`, which every page extends, and the style sheet."""


@cache
def environment(*folders: Path) -> Environment:
    """Templates of the folders given, and `page.html.j2`; text is escaped, a name that is missing is
    an error."""
    found = Environment(
        loader=FileSystemLoader([*folders, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals["stylesheet"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    return found


def render(template: str, values: dict[str, Any], *folders: Path) -> str:
    """The page as text. Raises jinja2.UndefinedError when a value is missing."""
    return environment(*folders).get_template(template).render(values)
