"""A PyTorch checkpoint to ONNX graphs in a model package."""
