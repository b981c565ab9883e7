"""The small TorToiSe that vqbench brings along."""
