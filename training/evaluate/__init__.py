"""Measures a bundle on a file or a data set as it is served: through its exported graphs and the server's engine.

Apart from this package training does not import the server.
"""
