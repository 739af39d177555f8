"""The workers: they lease seeds, ask the teacher, and store what came of it. They import app, never the reverse."""
