"""Numbers that nobody else has. Not secret: they come from one generator, because the system's takes a call each."""

import random

_random = random.Random()  # seeded by the system


def new_id() -> str:
    """32 hexadecimal digits, 128 random bits."""
    return f"{_random.getrandbits(128):032x}"


def new_seed() -> int:
    """A seed of 53 bits, so that clients whose numbers are floats can send it back unchanged."""
    return _random.getrandbits(53)
