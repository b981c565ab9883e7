"""What users write, from YAML text to models: suites, candidates, data, recipes."""
