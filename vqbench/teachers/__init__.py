"""Text-to-speech models that speak in codes."""
