"""What the models read: one module per table, and the batches made of them."""
