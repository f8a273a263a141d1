"""The work that runs elsewhere: the workflow kept equal to the blueprint, its run followed, and what it published looked at."""
