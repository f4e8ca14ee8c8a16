"""A checkpoint's network in the formats of others."""
