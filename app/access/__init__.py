"""Who may call: for now one admin key, from the environment or made on first start."""
