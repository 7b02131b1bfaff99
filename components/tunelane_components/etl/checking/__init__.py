"""Checks of what is finished: files in any of the formats, and splits against one another."""
