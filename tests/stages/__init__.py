"""The worker's pure stages, and what lies beside them."""
