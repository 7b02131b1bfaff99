"""The ONNX-only HTTP server: one model, answered one text at a time, exchanged without a dropped request."""
