"""The pictures of the stages: one page frame, one style sheet, charts and templates."""
