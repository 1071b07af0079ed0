"""The doors' dialects: pure translations between an API's bodies and what the Cluster is asked and answers."""
