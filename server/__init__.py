"""The HTTP service: API, engine, sessions, metrics. Torch-free."""

from models.offline import switch_off_telemetry

switch_off_telemetry()
