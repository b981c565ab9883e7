"""What is measured on each clip, and how fast."""
