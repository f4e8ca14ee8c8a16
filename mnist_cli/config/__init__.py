"""The options, their sources and their defaults."""
