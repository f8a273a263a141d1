"""Looks at a release's pods while helm-controller waits for them: it waits until its time is over, pods show much sooner that they fail."""

from __future__ import annotations

from pipeline.artifacts import Images
from pipeline.deploy import history, stored
from pipeline.deploy.flux_follow import Failure
from pipeline.deploy.rollout import View, judge, look
from pipeline.deploy.work import Held
from pipeline.tools import references
from pipeline.tools.kube_objects import template_images

PAUSE = 1.0  # seconds between two looks


class Watched:
    """The pods of the release that is to run `images`; `view` is what was seen last."""

    def __init__(self, work: Held, images: Images) -> None:
        self.work = work
        self.wanted = {image.digest for image in images.images}
        self.view = View()
        self._last = float("-inf")

    def __call__(self) -> Failure | None:
        """Why the rollout will fail, as far as the pods show it already."""
        now = self.work.site.clock.monotonic()
        if now - self._last < PAUSE:
            return None
        self._last = now
        self.look()
        if not any(references.read(image).digest in self.wanted for each in self.view.workloads for _, image in template_images(each)):
            return None  # what runs is still the release before
        found = judge(self.view, self.work.spec.restarts, now)
        return None if found is None else Failure("rollout", found.why, touched=True)

    def look(self) -> View:
        """The workloads and pods as they are now, of the newest revision that Helm keeps; signs that may pass are counted from when they
        were first seen."""
        work = self.work
        revisions = history.read(work.kube, work.spec.namespace, work.spec.release, work.spec.keeper)
        wanted = stored.workloads(work.kube, work.spec, revisions[0].number) if revisions else []
        self.view = look(work.kube, wanted, self.view.since)
        return self.view
