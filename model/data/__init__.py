"""What the model reads: one module a table, and what is made of it."""
