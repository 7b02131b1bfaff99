"""PyTorch against the packaged graphs, on held-out rows, as they serve."""
