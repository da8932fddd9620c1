"""How cost grows with size."""
