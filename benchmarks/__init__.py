"""Measurements. Each prints a table and ends in one JSON line; ratios within a run count, absolute times do not."""

from models.offline import switch_off_telemetry

switch_off_telemetry()
