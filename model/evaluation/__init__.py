"""Examples, ranks, metrics and yardsticks."""
