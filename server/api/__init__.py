"""HTTP endpoints: one module for each, with its request, its handler and its answer."""
