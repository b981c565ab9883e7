"""The small TorToiSe that comes along."""
