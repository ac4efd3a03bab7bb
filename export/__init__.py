"""Bundle in, verified ONNX graph sets and engines out."""

from models.offline import switch_off_telemetry

switch_off_telemetry()
