"""The candidates."""
