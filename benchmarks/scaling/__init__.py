"""Training with several ranks: that it equals training with one process, and what it costs."""
