"""Every class of figures is frozen, documented by its field names, and finds its way through JSON."""

from __future__ import annotations

import dataclasses

from pipeline.cycle import figures as stage_figures
from spark_jobs import figures as job_figures


def classes():
    for module in (stage_figures, job_figures):
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__:
                yield value


def test_every_class_is_a_frozen_dataclass():
    found = list(classes())
    assert len(found) > 15
    for kind in found:
        assert dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen, kind


def test_no_two_classes_share_a_name():
    names = [kind.__name__ for kind in classes()]
    assert len(names) == len(set(names))
