"""How cost grows with model size."""
