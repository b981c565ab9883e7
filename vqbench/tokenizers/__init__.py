"""Speech tokenizers: what a suite measures."""
