"""From records alone to tables, figures and a page; imports no torch, so a laptop regenerates them in seconds."""
