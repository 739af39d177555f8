"""limbeck …: one file a group of commands; main.py gathers them."""
