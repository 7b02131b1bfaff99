"""What is kept of every prediction, what people say of it, and whether the texts have changed."""
