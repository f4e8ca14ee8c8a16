"""From an image file to a digit."""
