"""What is decided from records: comparisons, rules, plausibility, gates, history."""
