"""`tunelane schedule`: runs that start by themselves."""
