"""The checks, one test file a check."""
