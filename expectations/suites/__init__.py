"""What must be true of each table: one module per table, with `batches()` and `expectations()`.

`batches()` gives the rows to judge: the table with derived columns, and small aggregates that turn an
equation across rows or tables into a comparison within one row. `expectations()` states what must be true
of them, as plain data. `expectations.runner` runs the checks. What a constraint of the table enforces on write is no
expectation. `losses` is about no table: it judges what became of landed lines.
"""
