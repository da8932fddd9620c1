"""Landed files: which there are, how they are read, and how their lines become fields."""
