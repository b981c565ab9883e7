"""A gate's verdict in the words of CI systems."""
