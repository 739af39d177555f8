"""Does the level find itself? Levels swept by hand beside the controller started too low and too high."""
