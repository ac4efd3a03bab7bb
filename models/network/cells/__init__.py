"""Recurrent cells of your own in torch."""
