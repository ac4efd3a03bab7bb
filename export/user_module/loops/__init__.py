"""Loops over time in a user's forward, rewritten from their source so that the time axis stays free."""
