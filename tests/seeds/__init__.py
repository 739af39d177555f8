"""Reading seeds: lines, documents, and the streams that carry them."""
