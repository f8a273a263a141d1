"""A workflow for GitHub Actions, written from the blueprint: the same images, tags and registry, in one place."""
