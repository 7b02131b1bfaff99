"""What a model package does with what it is asked: texts to labels or vectors, features to tensors."""
