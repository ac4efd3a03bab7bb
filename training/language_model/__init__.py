"""The language model: a text, windows that carry the state, nats per token."""
