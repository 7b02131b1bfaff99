"""What a run looks like in a terminal: live, or line by line."""
