"""Who is champion: the model registry behind one interface."""
