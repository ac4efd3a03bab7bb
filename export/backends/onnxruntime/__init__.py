"""ONNX Runtime, CPU (and CUDA later)."""
