"""The training loop, its optimizers, probes and state."""
