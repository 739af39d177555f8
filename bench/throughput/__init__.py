"""Whole jobs against a simulated vLLM, beside a bare aiohttp loop that stores nothing: ratios from one run."""
