"""What was measured, how it is kept, and how it is judged: no torch anywhere."""
