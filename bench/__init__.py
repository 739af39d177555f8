"""Benchmarks, and the simulated teacher they run against."""
