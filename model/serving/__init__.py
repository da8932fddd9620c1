"""Encoding of histories and items, and scoring as served."""
