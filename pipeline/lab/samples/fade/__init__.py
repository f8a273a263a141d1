"""Fade: a message board whose messages fade away, and the cluster of nodes that keeps them in memory until they do."""
