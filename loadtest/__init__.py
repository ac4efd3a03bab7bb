"""Load on a running server, with Locust: many clients at once, every answer checked."""

from models.offline import switch_off_telemetry

switch_off_telemetry()
