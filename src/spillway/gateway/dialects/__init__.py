"""What the doors' APIs say, translated: pure functions from bodies to requests and from answers to bodies."""
