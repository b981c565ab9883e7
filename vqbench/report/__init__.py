"""Renders results for people and programs: computes nothing, and needs no torch."""
