"""Where parts are put together: a configuration becomes a Cluster of engines with routes, prices and metrics."""
