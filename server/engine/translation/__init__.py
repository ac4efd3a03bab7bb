"""Translation: sources are encoded together, and the hypotheses of all of them step together."""
