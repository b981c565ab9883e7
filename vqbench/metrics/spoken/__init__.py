"""What judges make of a TorToiSe that was tuned to a candidate: the metric group `downstream`."""
