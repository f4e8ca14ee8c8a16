"""Comparisons of batch sizes (`mnist-compare`)."""
