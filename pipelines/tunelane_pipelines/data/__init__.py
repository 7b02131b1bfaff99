"""Datasets on the command line: build, report, validate, split-check."""
