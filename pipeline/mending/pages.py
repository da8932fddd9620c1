"""Takes a person's id out of pages and records: keys of failing rows, measured values, examples of refused lines.

A page is changed where a piece of its text is the id, lists it, or is the text of a landed line that names it; pages
of Great Expectations are removed, since they hold whole rows.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from expectations.files import write_atomically

GONE = "(erased)"
_LIST = re.compile(r"(, | against |: )")


def scrub(folders: Iterable[Path], user: str) -> int:
    """Takes an id out of every page and record below the folders; returns how many files were changed or removed."""
    changed = 0
    for folder in folders:
        for path in sorted(folder.rglob("*.html")):
            text = path.read_text(encoding="utf-8")
            if "-data-docs-" in path.name and names(html.unescape(text), user):
                path.unlink()
                changed += 1
            elif (clean := _page(text, user)) != text:
                write_atomically(path, clean, mode=0o644)
                changed += 1
        for path in sorted(folder.rglob("stage-*.json")):
            content = json.loads(path.read_text(encoding="utf-8"))
            if (clean := _values(content, user)) != content:
                write_atomically(path, json.dumps(clean, indent=1))
                changed += 1
    return changed


def names(text: str, user: str) -> bool:
    """Whether a text holds the id as a word of its own."""
    return re.search(rf"(?<![\w-]){re.escape(user)}(?![\w-])", text) is not None


def _page(page: str, user: str) -> str:
    parts = re.split(r"(<[^>]*>)", page)
    of_line = False
    for number, part in enumerate(parts):
        if part.startswith("<"):
            if part.startswith(("<div", "<pre")):
                of_line = 'class="mono"' in part or part.startswith("<pre")
            elif part.startswith(("</div", "</pre")):
                of_line = False
        elif part.strip():
            text = html.unescape(part)
            clean = GONE if of_line and names(text, user) else _listed(text, user)
            if clean != text:
                parts[number] = html.escape(clean)
    return "".join(parts)


def _listed(text: str, user: str) -> str:
    """A text that is the id, or a list with it, without it."""
    return "".join(GONE if one.strip() == user else one for one in _LIST.split(text))


def _values(content: Any, user: str) -> Any:
    """A record whose judgements measured no value that is the id."""
    if isinstance(content, dict):
        return {
            name: _listed(value, user)
            if name == "observed" and isinstance(value, str)
            else _values(value, user)
            for name, value in content.items()
        }
    return [_values(value, user) for value in content] if isinstance(content, list) else content
