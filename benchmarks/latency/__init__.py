"""Latencies: of first tokens, of tokens, of the event loop."""
