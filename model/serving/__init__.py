"""Scoring of histories, as served."""
