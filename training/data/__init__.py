"""Texts to train on: loaders, splits, token streams and the windows that training reads."""
