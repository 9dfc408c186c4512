"""Generated packages: what is in them, written to folders whole or not at all, and kept for modules in memory."""
