"""From a registered package to one that serves, with a smoke test between and a way back."""
