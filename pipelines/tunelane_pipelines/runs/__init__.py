"""What a run leaves behind: its record, and the journal of all of them."""
