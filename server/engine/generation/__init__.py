"""Text generation: prompts are read in chunks, and their continuations step together."""
