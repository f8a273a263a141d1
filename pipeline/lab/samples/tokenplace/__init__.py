"""The token.place relay and its compute node, as small as they can be and still answer as the real ones."""
