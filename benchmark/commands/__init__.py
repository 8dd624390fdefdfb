"""The commands: one verb a file, imported when it is called."""
