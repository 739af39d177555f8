"""The queue: our own claim on the domain rows, because a stale worker must be fenced."""
