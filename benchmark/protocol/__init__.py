"""From the words of a command to the runs that they stand for: presets, the grid, and what is tuned."""
