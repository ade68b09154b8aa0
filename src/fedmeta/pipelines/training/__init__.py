"""Training: the round loop of an algorithm, with its checkpoints and its history."""
