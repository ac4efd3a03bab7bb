"""A user's torch module behind the graphs of one task."""
