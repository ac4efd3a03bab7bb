from models.offline import switch_off_telemetry

switch_off_telemetry()
