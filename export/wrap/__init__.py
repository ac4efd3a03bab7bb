"""A model trained elsewhere as a bundle that the server takes: checks, card, command. Torch-free."""
