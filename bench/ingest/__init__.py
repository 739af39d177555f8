"""Seeds in: one NDJSON upload over HTTP beside a bare COPY of the same rows: ratios from one run."""
