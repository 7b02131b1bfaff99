"""Where pipelines run that do not run here: Vertex AI and Kubeflow, behind one set of verbs."""
