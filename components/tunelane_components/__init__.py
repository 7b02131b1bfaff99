"""The stages: one folder each, its logic as plain functions and its KFP component as a thin wrapper."""
