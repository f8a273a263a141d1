"""The first hour with one's own application: a look at the repository, and what is written from it."""
