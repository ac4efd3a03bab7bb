"""Backends: each folder holds build.py (from ONNX files) and run.py. Torch-free."""
