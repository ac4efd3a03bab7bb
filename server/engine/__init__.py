"""The engine: which sequences run next, running them, and bringing the outputs to the event loop. Token ids only.

A *lane* is a worker thread that computes for one model, with a scheduler, batches and state rows of its own. A model
has up to one lane per core. Lanes of a model share the runtime's sessions and the prefix cache.
"""
