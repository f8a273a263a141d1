"""Whether an image can really be fetched: its configuration and each of its layers is opened, not only asked for."""

from __future__ import annotations

from pipeline.tools.registry import Client, Manifest

AT_ONCE = 6  # connections: a registry on a small machine should notice no more of us than of a browser


def missing(client: Client, repository: str, manifest: Manifest) -> frozenset[str]:
    """The digests that the manifest names and the registry does not give. One short GET each, several at a time.

    Raises what the client raises."""
    from concurrent.futures import ThreadPoolExecutor  # a run that changes nothing never comes here

    digests = tuple(dict.fromkeys((manifest.config, *(digest for digest, _ in manifest.layers))))
    with ThreadPoolExecutor(min(AT_ONCE, len(digests))) as pool:
        given = tuple(pool.map(lambda digest: client.opens(repository, digest), digests))
    return frozenset(digest for digest, here in zip(digests, given, strict=True) if not here)
