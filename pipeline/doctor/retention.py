"""How many images there are of what a stage fills: from the first that is more than is kept, `inv prune` has something to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

from pipeline.doctor.verdict import Check, Verdict, ok, warn
from pipeline.errors import PipelineError
from pipeline.plan import Blueprint
from pipeline.stage import Site, Store, stores
from pipeline.tools import image_list
from pipeline.tools.registry import client_of

NAME = "old images"
SLOW = 25.0  # seconds: one question for each tag


def checks(blueprint: Blueprint, site: Site) -> list[Check]:
    """One for each repository that a stage of the blueprint fills."""
    filled = [store for store in stores(blueprint.plan, site) if store.names]
    return [Check(_where(store), NAME, partial(look, store, blueprint.keep, site), SLOW) for store in filled]


def look(store: Store, keep: int, site: Site) -> Iterator[Verdict]:
    """One verdict. Of tags that are not called after a commit nothing is said, and a registry that cannot be asked is told as such by the
    checks of the registry itself."""
    try:
        count = _count(store, keep, site)
    except PipelineError:
        return
    text = f"{count} {'image is' if count == 1 else 'images are'} in {store.repository}"
    if count > keep:
        mend = "inv prune --dry-run shows what is no longer needed; inv prune"
        yield warn(_where(store), NAME, f"{text}, {keep} of them are to be kept", mend)
    else:
        yield ok(_where(store), NAME, text)


def _count(store: Store, keep: int, site: Site) -> int:
    client, patterns = client_of(site, store.registry), [re.compile(name) for name in store.names]
    tags = [tag for tag in client.tags(store.repository) if any(pattern.fullmatch(tag) for pattern in patterns)]
    return len(image_list.stored(client, store.repository, tags)) if len(tags) > keep else len(tags)


def _where(store: Store) -> str:
    return f"{store.registry} (registry)"
