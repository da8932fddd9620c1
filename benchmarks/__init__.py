"""Benchmarks of speed and quality; each module is a command that prints a table."""

import model  # noqa: F401  sets how threads wait before a benchmark loads torch
