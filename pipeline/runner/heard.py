"""What is told of a failed attempt that another one follows: the same words for every stage and task."""

from __future__ import annotations

from pipeline.errors import PipelineError
from pipeline.events import What
from pipeline.retry import Notice
from pipeline.stage import Site


def heard(site: Site, stage: str) -> Notice:
    """A notice for `pipeline.retry.retrying` that tells the site's faces."""

    def notice(error: PipelineError, attempt: int, wait: float) -> None:
        text = f"{error.what}; attempt {attempt + 1} in {wait:.1f} s"
        site.tell(What.RETRY, stage, text, attempt=attempt, wait=wait, error=error.what)

    return notice
