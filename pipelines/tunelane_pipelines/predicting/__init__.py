"""Answers on the command line, by the classifier that serves."""
