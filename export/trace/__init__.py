"""Torch modules to ONNX."""
