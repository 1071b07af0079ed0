"""Gateways that share a store answer as one: each publishes what it sees, any puts it together, orders reach all."""

from spillway.gateway.together.fellows import Fellows, SeenTogether

__all__ = ["Fellows", "SeenTogether"]
