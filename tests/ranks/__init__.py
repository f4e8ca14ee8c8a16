"""Tests of several ranks that train as one process does."""
