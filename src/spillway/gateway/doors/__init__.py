"""The doors: each reads one API's requests, asks the Cluster, and answers in that API's words."""
