"""Forecasting: what follows in a series, as nine quantiles."""
