"""From rows of statistics to numbers with intervals and p-values: arrays only, nothing of candidates or clips."""
