"""Infrastructure that a blueprint stands on, planned, applied and destroyed by its own tool: not a stage, since it outlives releases."""
