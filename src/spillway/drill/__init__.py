"""The cluster drill: nodes, a store and a provider as processes, faults by a seeded plan, promised against measured."""
