"""The ONNX-only HTTP server: champions and uploaded models, answered and exchanged without a dropped request."""
