"""Building TensorRT engines from a bundle: what a person runs, where `onnx` is at hand (runtime has none)."""
