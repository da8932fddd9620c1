"""Training: Lightning wiring, optimizer, warm start, checkpoints."""
