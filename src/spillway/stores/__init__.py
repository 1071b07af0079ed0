"""Where shared state lives: adapters of the ports in core."""

from spillway.stores.memory import MemoryStore

__all__ = ["MemoryStore"]
