"""Bundle in, verified ONNX graph sets and engines out."""
