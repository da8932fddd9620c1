"""Training: the Lightning module, optimizers, warm start and checkpoints."""
