"""The demonstration: the same prompts through a naive loop and through Spillway, while three providers misbehave."""
