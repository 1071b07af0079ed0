"""Files in, files out: every line answered exactly once, whatever happens on the way."""
