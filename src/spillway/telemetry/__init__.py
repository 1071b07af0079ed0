"""What leaves a running Cluster for those who watch it: Prometheus, OpenTelemetry, logs."""
