"""The engine: which rows run next, running them, and bringing the outputs to the event loop. Token ids only."""
