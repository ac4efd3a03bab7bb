"""Single graphs, without a server."""
