"""The local target: a pipeline on this machine, on the local runner of kfp."""
