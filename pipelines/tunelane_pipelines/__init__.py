"""The pipelines, the targets they run on, and the command line."""
