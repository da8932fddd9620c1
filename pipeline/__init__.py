"""What happens: one module per stage, the map of stages, and the record of every cycle."""
