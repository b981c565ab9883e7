"""What the plugin and the tests that it collects have in common."""

WARNING = "vqbench-warning"
"""Name of the user property of a test that passes and yet has something to say."""
