"""Raw labelled records to canonical JSONL splits, checked against a label taxonomy."""
