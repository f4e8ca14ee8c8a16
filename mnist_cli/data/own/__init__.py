"""Data of one's own: tables, arrays and pictures as people keep them."""
