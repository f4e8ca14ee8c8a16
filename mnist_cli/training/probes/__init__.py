"""Measurements of gradients during a training."""
