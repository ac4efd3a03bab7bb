"""The HTTP service: API, engine, sessions, metrics. Torch-free."""
