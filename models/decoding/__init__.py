"""Decoding over any step function: options, sampling, detokenising. numpy only."""
