"""The engine: which rows run next, running them, and bringing the news to the event loop. Token ids only."""
