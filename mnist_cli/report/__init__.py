"""A comparison for people: progress, tables, curves, figures and a page."""
