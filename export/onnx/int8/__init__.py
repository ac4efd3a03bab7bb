"""Graphs in int8, built from weights. Torch-free."""
