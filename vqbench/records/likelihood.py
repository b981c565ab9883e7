"""Names of the figures of how well a teacher's GPT foretells candidates' tokens."""

GROUP = "likelihood"

NATS, UNIFORM, UNIGRAM, CEILING = (f"{GROUP}.{name}" for name in ("nats", "uniform", "unigram", "ceiling"))
