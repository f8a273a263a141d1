"""Tells the faces of one command on the infrastructure: that it starts, how it ended, and what went wrong, once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.errors import Cancelled, PipelineError
from pipeline.events import What
from pipeline.provision.root import STAGE, Root
from pipeline.runner.walk import facts


@contextlib.contextmanager
def told(root: Root, doing: str) -> Iterator[None]:
    """Around one command: PLAN before it, DONE or FAILED after it. A failure has no secret in it."""
    site = root.site
    began = site.clock.monotonic()
    usual = site.records.usual(STAGE) if doing == "infra.apply" else None
    site.tell(What.PLAN, "", f"{doing} of {root.name}", stages=[STAGE], usual={STAGE: usual}, source=root.name)
    site.tell(What.LOOK, STAGE, "looks")
    try:
        yield
    except PipelineError as error:
        raise _failed(root, error)  # noqa: B904  # the same error, filled in
    except KeyboardInterrupt as error:
        raise _failed(root, Cancelled("stopped")) from error
    site.tell(What.DONE, "", f"{doing} of {root.name}", seconds=site.clock.monotonic() - began, changed=[])


def _failed(root: Root, error: PipelineError) -> PipelineError:
    mask = root.site.secrets.mask
    error.what, error.cause, error.mend, error.log = mask(error.what), mask(error.cause), mask(error.mend), mask(error.log)
    error.args = (error.what,)
    error.stage = error.stage or STAGE
    root.site.tell(What.FAILED, error.stage, error.what, error=facts(error))
    return error
