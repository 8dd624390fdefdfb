"""The commands: one file per command, imported when it is called."""
