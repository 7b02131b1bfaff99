"""Getting a model package: from a path, a bucket or an HTTPS archive, or built where the trainer is installed."""
