"""Paths and what answers them."""
