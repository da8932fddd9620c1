"""One module a stage; no stage imports another."""
