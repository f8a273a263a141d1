"""Where a registry's content really lies: the hosts it may send a download on to, which never see its credentials."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult

from pipeline.errors import ConfigError
from pipeline.tools.http_answer import leads_to, target
from pipeline.tools.origin import Answer, Origin


def download(origin: Origin, there: SplitResult, stores: tuple[str, ...], headers: Mapping[str, str], method: str, cap: int) -> Answer:
    """What lies at `there`, where `origin` has sent us for a blob: asked of one of `stores` only, never without TLS where the registry
    has it, and without an Authorization (the address itself is the permission). Whoever gets it compares the digest.

    A HEAD is answered here: that it was sent on says that the blob is there, and a store that signs its addresses signs them for GET.
    Raises ConfigError for another host, and what `Origin.ask` raises.
    """
    host = there.netloc.lower()
    if not any(leads_to(there, there.scheme, store) for store in stores) or there.scheme not in ("https", origin.scheme):
        raise ConfigError(
            f"{origin} sends a download on to {there.scheme}://{there.netloc}, which was not asked",
            mend=f"if that is where this registry keeps its content, write stores: [{host}] at it in the site file",
        )
    if method == "HEAD":
        return Answer(200, {}, b"")
    store = Origin(there.scheme, there.netloc, clock=origin.clock)
    try:
        return store.ask(method, target(there), headers, cap=cap)
    finally:
        store.close()
