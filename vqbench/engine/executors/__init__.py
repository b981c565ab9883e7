"""Where the missing items of a stage are done: here, in processes of this machine, or on a Ray cluster."""
