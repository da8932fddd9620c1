"""How a model of a cycle is trained: where it starts, and how it is resumed."""
