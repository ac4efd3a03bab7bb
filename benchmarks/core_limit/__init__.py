"""How near the server comes to what the machine's cores could do: the core limit, one meaning for all tasks."""
