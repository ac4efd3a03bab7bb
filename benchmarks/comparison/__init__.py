"""Other servers with the same model and the same load, side by side with rnnserve: `make bench-comparison`."""
