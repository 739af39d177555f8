"""The stages, one a file: render, parse, curate, store. Generating is workers/teacher."""
