"""The lesson: a page in which networks train side by side."""
