"""The paper's figures and the standard count."""

from __future__ import annotations

import pytest

from model.scaling.cost import paper_full, paper_reduced, standard_backbone, standard_full, standard_reduced

SHAPE = {"layers": 6, "width": 1024}


def test_the_papers_figures_for_a_million_items():
    full, reduced = (count(**SHAPE, vocabulary=10**6).total for count in (paper_full, paper_reduced))
    assert full == pytest.approx(1.26e10, rel=0.005)
    assert reduced == pytest.approx(3.56e8, rel=0.001)
    assert full / reduced == pytest.approx(35.5, abs=0.05)


def test_the_papers_ratio_for_ten_million_items():
    full, reduced = (count(**SHAPE, vocabulary=10**7).total for count in (paper_full, paper_reduced))
    assert full / reduced == pytest.approx(249, abs=0.5)


def test_terms_by_hand():
    assert paper_full(1, 8, 10).backbone == 6 * 9 * 64
    assert paper_full(1, 8, 10).decoding == 12 * 8 * 10
    assert paper_reduced(1, 8, 1000).decoding == 12 * 1 * 10
    assert paper_reduced(1, 8, 1000).projection == 6 * 8 * 1


def test_the_standard_count():
    assert standard_backbone(layers=2, width=8, length=16) == 2 * (6 * 12 * 64 + 12 * 16 * 8)
    assert standard_full(2, 8, 16, vocabulary=100).decoding == 6 * 8 * 100
    reduced = standard_reduced(2, 8, 16, output_width=4, scored=5)
    assert (reduced.decoding, reduced.projection) == (6 * 4 * 5, 6 * 8 * 4)
    assert reduced.total == reduced.backbone + 6 * 4 * 5 + 6 * 8 * 4
