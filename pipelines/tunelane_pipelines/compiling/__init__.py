"""Compiled files for every target: each pipeline and each component as YAML that Kubeflow and Vertex AI read."""
