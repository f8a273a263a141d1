"""Builds nothing: the release is of other people's images alone, which its manifests or its chart name."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.artifacts import Images, Source
from pipeline.stage import Driver, Finding, Site


@dataclass(frozen=True)
class Nothing:
    """No options: the release has no image of one's own. What is deployed is what the manifests or the chart say."""


def find(_spec: Nothing, source: Source, _site: Site) -> Finding:
    """Return the empty set of images, which is always there."""
    return Finding(Images(source, ()), "nothing is built here")


def make(_spec: Nothing, source: Source, _site: Site) -> Images:
    return Images(source, ())


DRIVER = Driver("build", "none", Source, Images, Nothing, find, make)
