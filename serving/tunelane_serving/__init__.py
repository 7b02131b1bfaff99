"""What runs in production: contracts, classifier and ONNX-only server. Knows nothing of training, KFP or clouds."""
