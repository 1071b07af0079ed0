"""The dialects that the simulator speaks, one file for each provider."""
