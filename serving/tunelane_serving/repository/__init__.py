"""The model repository: versions of packages by model id, uploaded as archives, kept as blobs."""
