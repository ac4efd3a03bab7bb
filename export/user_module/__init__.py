"""Any user's own torch module as one ONNX graph."""
