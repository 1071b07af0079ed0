"""What is drilled, each a file: a plan that follows from the seed, and a play that measures promises."""
