"""The models in the registry, looked at."""
