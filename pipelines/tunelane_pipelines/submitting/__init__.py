"""`tunelane submit`: a run from its parameters to the service that carries it on."""
