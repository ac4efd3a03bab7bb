"""Passes over exported ONNX models. Torch-free."""
