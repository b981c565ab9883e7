"""The compact trainer."""
