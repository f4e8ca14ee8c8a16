"""Measurements of speed: ours beside plain programs, in turn, on the machine at hand."""
