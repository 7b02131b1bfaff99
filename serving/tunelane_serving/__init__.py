"""What runs in production: contracts, the classifier and the ONNX-only server. Knows nothing of training, KFP or clouds."""
