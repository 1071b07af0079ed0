"""What the gateway shows of itself: counts of its requests, log lines, traces."""
