"""Sentiment: whatever waits is classified together, texts of like length in one call."""
