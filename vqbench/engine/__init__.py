"""Where measuring and judging meet."""
