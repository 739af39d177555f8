"""Samples: what the teacher's answers became, accepted and rejected alike."""
