"""Training and inference shared by tasks: the loop, crops, losses, optimiser, checkpoints, sliding window."""
