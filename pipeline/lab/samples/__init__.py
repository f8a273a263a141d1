"""Small applications of the two other systems: real, so that what releases them is proved on something that runs."""
