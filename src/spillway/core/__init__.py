"""What a request, a reply, an error, a deployment and a secret is; ports, clock, actor. Imports nothing above it."""
