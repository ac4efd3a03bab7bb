"""Backends: each folder holds build.py (from ONNX files) and run.py. Torch-free."""

from models.offline import switch_off_telemetry

switch_off_telemetry()
