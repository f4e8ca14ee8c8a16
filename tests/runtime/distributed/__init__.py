"""Tests of the process group."""
