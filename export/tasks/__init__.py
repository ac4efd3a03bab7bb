"""How each architecture becomes a graph set: one file for each, all with the interface of `architecture`."""
