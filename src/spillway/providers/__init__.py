"""What speaks to a provider: a folder each, and what they share. Options are in the folders, runners in `registry`."""
