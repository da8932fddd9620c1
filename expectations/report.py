"""Shows judgements: a page of all, Great Expectations' Data Docs of what failed, and rows for the record.

All pages work offline. Data Docs would load styles and scripts from the internet; those references are
removed, so that the pages open immediately and send nothing out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from great_expectations.core import ExpectationSuiteValidationResult
from great_expectations.render.renderer import ValidationResultsPageRenderer
from great_expectations.render.view import DefaultJinjaPageView

from expectations.expectation import Judgement, SuiteResult
from expectations.figures import JudgementRow
from expectations.files import write_atomically
from expectations.page import render

_FETCHED = re.compile(
    r"<script\b[^>]*\bsrc=.*?</script>|<link\b[^>]*\bhref=\"https?:[^>]*>|<img\b[^>]*\bsrc=\"https?:[^>]*>"
    r"|<script>.*?</script>",
    re.DOTALL | re.IGNORECASE,
)
_LINK = re.compile(r"(href|src)=\"https?://[^\"]*\"|url\(['\"]?https?:[^)]*\)", re.IGNORECASE)
_PLAIN_STYLE = (
    "<style>body{font:15px/1.5 system-ui,sans-serif;margin:1.5rem;max-width:70rem}"
    "table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .6rem;"
    "text-align:left;vertical-align:top}.modal,.navbar,footer,.ge-walkthrough-modal,button{display:none}"
    ".row{display:block}.fa-check-circle::before{content:'✓ met'}.fa-times::before{content:'✗ not met'}"
    ".fa-exclamation-triangle::before{content:'! crashed'}</style></head>"
)


def write(
    folder: Path,
    stage: str,
    results: Sequence[SuiteResult],
    facts: Mapping[str, str],
    accepted: str | None = None,
    cautions: Sequence[str] = (),
) -> Path:
    """Writes `<stage>.html` and a Data Docs page for every batch in which something failed; returns the
    former's path.

    `facts` must have `source` and `cycle`; its other entries are listed below the headline. `accepted` says who
    accepts what is not met, and why; `cautions` is what is met and yet worth a look.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{stage}-data-docs-*.html"):
        stale.unlink()
    documents = []
    for result in results:
        for batch, by_name in result.document.items():
            if not all(answer.success for answer in by_name.values()):
                name = f"{stage}-data-docs-{result.table}-{batch}.html"
                write_atomically(
                    folder / name, _data_docs(result.table, batch, list(by_name.values())), mode=0o644
                )
                documents.append(name)
    red = [(result.table, judgement) for result in results for judgement in result.red]
    values = {
        "facts": facts,
        "accepted": accepted,
        "cautions": cautions,
        "results": results,
        "red": red,
        "judged": sum(len(result.judgements) - result.count("not_applicable") for result in results),
        "not_applicable": sum(result.count("not_applicable") for result in results),
        "documents": documents,
        "counted": counted,
    }
    page = folder / f"{stage}.html"
    write_atomically(page, render("expectations.html.j2", values), mode=0o644)
    return page


def counted(result: SuiteResult) -> str:
    """Counts by outcome in words: `12 passed, 1 failed`."""
    outcomes = ("passed", "failed", "crashed", "not_applicable")
    counts = [(result.count(outcome), outcome.replace("_", " ")) for outcome in outcomes]
    return ", ".join(f"{count} {outcome}" for count, outcome in counts if count)


def rows(results: Sequence[SuiteResult]) -> tuple[JudgementRow, ...]:
    """Every judgement for a record, without its failing rows."""
    return tuple(_row(result.table, judgement) for result in results for judgement in result.judgements)


def _row(table: str, judgement: Judgement) -> JudgementRow:
    return JudgementRow(
        table=table,
        name=judgement.expectation.name,
        words=judgement.expectation.words,
        outcome=judgement.outcome,
        observed=judgement.observed,
        allowed=judgement.expectation.allowed,
        message=judgement.message,
    )


def _data_docs(table: str, batch: str, results: list[Any]) -> str:
    """Great Expectations' page of one batch, without references to the internet."""
    met = sum(bool(answer.success) for answer in results)
    validation = ExpectationSuiteValidationResult(
        success=met == len(results),
        results=results,
        suite_name=f"{table}: {batch}",
        statistics={
            "evaluated_expectations": len(results),
            "successful_expectations": met,
            "unsuccessful_expectations": len(results) - met,
            "success_percent": 100.0 * met / len(results),
        },
        meta={"run_id": {"run_name": table, "run_time": None}, "batch_spec": {}, "batch_markers": {}},
    )
    document = ValidationResultsPageRenderer().render(validation)
    text = DefaultJinjaPageView().render(document)
    return _LINK.sub("", _FETCHED.sub("", text)).replace("</head>", _PLAIN_STYLE, 1)
