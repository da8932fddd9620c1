"""Landed files: finding them, reading their lines, and turning lines into typed rows."""
