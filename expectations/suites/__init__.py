"""What must be true of each table: one module a table, `batches()` and `expectations()` in each.

`batches()` gives the rows to judge: the table itself with derived columns, and small aggregates
that turn an equation across rows or tables into a comparison within a row. `expectations()` says
what must be true of them, as plain data. Nothing here runs a check.
"""
