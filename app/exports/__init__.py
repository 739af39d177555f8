"""Exports: one file a format; each turns a stored sample into one line of JSON."""
