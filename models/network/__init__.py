"""The architectures in torch."""
