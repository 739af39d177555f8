"""Curation: each check a file of its own, named from recipes; pure functions of one candidate.

A check keeps a sample or rejects it; the reject's reason is the check's name and never changes.
registry.py lists them. Only the duplicate checks look at other samples, and they do it in the
store's transaction (duplicates.py), so that two workers cannot both keep the same text.
"""
