"""Digits in picture files: decode, find, and prepare as those of MNIST are."""
