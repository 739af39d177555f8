"""Other tools that do the same job, each in its own environment, on the same simulated teacher, in the same run."""
