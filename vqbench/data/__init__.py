"""Clips and where they come from."""
