"""Proof that a graph set answers as PyTorch does: one file for each architecture."""
