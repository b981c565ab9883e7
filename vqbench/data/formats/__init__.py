"""Manifests and folders as other tools make them: one file a format, which tells whether it knows what it sees."""
