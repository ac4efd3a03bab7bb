"""ONNX graphs, written and rewritten without torch: graph builder, rewrites, int8 forms, census."""
