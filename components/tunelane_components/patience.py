"""How long a service that does not answer is asked again before it is given up."""

STAGE_PATIENCE_S = 120.0
"""In a run: an outage of a minute must not end the work of hours."""

PERSON_PATIENCE_S = 12.0
"""Where a person waits for what is read."""
