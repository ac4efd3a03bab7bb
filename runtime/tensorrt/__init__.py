"""TensorRT 11 on an NVIDIA GPU."""
