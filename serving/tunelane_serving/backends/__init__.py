"""How each framework runs a graph."""
