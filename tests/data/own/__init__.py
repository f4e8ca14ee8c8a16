"""Tests of data of one's own."""
