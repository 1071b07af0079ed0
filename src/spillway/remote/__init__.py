"""The remote core: one policy a module, each a pure machine in a thin shell."""
