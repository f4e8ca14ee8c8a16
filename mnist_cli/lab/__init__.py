"""Batch against mini-batch, measured: comparisons and what follows from them."""
