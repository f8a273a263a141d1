"""The images of a set built one after the other: one that fails does not keep the others from being built and kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.artifacts import Source
from pipeline.build import builders, proof
from pipeline.build.builders import Bench
from pipeline.build.buildx_spec import REGISTRY, Buildx
from pipeline.build.story import Story
from pipeline.build.wanted import EPOCH, Wanted
from pipeline.build.workshop import Workshop, opened
from pipeline.errors import Ambiguous, BuildError, PipelineError, Transient
from pipeline.events import What
from pipeline.host import Cmd
from pipeline.stage import Site
from pipeline.tools import buildx
from pipeline.tools.buildx_errors import Lost, meaning
from pipeline.tools.buildx_log import BuildxLog
from pipeline.tools.registry import Client

if TYPE_CHECKING:
    from pipeline.host.local import LocalHost

STAGE = "build"


@dataclass(frozen=True)
class Turn:
    """One run's tools."""

    spec: Buildx
    source: Source
    site: Site
    client: Client
    shop: Workshop
    here: LocalHost
    bench: Bench

    def build(self, image: Wanted) -> str:
        """Build and push one image, and read it back; its digest. Raises what the build or the registry means."""
        self.shop.log_in(self.spec, image.spec.repository)
        metadata = self.shop.private / f"metadata-{image.name}.json"
        argv = (*builders.program(self.site), *buildx.build(self.bench.name, self._options(image), str(metadata)))
        prefix = f"{image.name}: " if len(self.spec.images) > 1 else ""
        story = Story(self.site, f"build-{image.name}-{image.content[:16]}", BuildxLog(), prefix)
        try:
            with story:
                done = self.here.run(Cmd(argv, env=self.shop.env, timeout=self.spec.timeout, keep=1 << 16), story.hear)
        except Ambiguous as error:
            raise BuildError(
                f"the build did not end within {self.spec.timeout:.0f} s", cause=error.cause, mend="raise timeout", log=str(story.path)
            ) from error
        if done.code in (126, 127):
            raise builders.missing(done)
        if not done.ok:
            fault = meaning(tuple(story.log.said), story.log.failed, done.code)
            fault.log = str(story.path)
            raise builders.lost(self.here, self.shop.env, self.bench, fault, self.site) if isinstance(fault, Lost) else fault
        digest = buildx.digest(metadata.read_text())
        proof.keep(self.client, image, digest)
        self.site.tell(
            What.LOG, STAGE, f"{image.name}: {digest} ({story.log.built} steps built, {story.log.cached} cached)",
            image=image.name, digest=digest, built=story.log.built, cached=story.log.cached,
        )  # fmt: skip
        return digest

    def _options(self, image: Wanted) -> buildx.Build:
        context, dockerfile = self.shop.context(image.spec)
        name = f"{self.site.registry(self.spec.registry).address}/{image.spec.repository}"

        def caches(way: str) -> list[str]:
            said = self.spec.cache.get(way, ())
            return [buildx.registry_cache(name, to=way == "to") if cache == REGISTRY else cache for cache in said]

        return buildx.Build(
            name=name, context=str(context), dockerfile=dockerfile, target=image.spec.target, args=image.spec.args, labels=image.labels,
            platforms=image.spec.platforms, secrets={name: self.shop.secret(source) for name, source in image.spec.secrets.items()},
            cache_from=caches("from"), cache_to=caches("to"), provenance=self.spec.provenance, epoch=EPOCH,
            plain_http=self.client.origin.scheme == "http", tag=image.built if len(self.bench.nodes) > 1 else "",
        )  # fmt: skip


def build_missing(
    spec: Buildx, source: Source, site: Site, client: Client, missing: Sequence[Wanted], kept: Sequence[str]
) -> dict[str, str]:
    """Build these images; the digest of each. `kept` are those of the set that are there already.

    Raises the error of the image that failed, a lasting one before one that passes, after all of them were tried.
    """
    from pipeline.host.local import LocalHost

    here, failed, digests = LocalHost(clock=site.clock), dict[str, PipelineError](), dict[str, str]()
    platforms = tuple(dict.fromkeys(platform for image in missing for platform in image.spec.platforms))
    with opened(source, site, [image.spec for image in missing]) as shop:
        turn = Turn(spec, source, site, client, shop, here, builders.ready(here, shop.env, spec.builders, platforms, site))
        for image in missing:
            named = ", ".join(image.spec.platforms) or "the builder's own platform"
            site.tell(What.WAIT, STAGE, f"{image.name}: {named}")
            try:
                digests[image.name] = turn.build(image)
            except PipelineError as error:
                failed[image.name] = error
                if isinstance(error, Lost):
                    break  # the others would only meet the same
                if len(missing) > 1:
                    site.tell(What.WARN, STAGE, f"{image.name}: {error.what}")
    if failed:
        raise _combined(failed, [*kept, *digests])
    return digests


def _combined(failed: dict[str, PipelineError], kept: list[str]) -> PipelineError:
    """The error of the set: the first that lasts, else the first, with what became of the other images."""
    name = next((each for each, error in failed.items() if not isinstance(error, Transient)), next(iter(failed)))
    error = failed[name]
    if kept or len(failed) > 1:
        error.what = f"{name}: {error.what}"
        others = [f"{each}: {other.what}" for each, other in failed.items() if other is not error]
        there = f"built and kept, but not tagged: {', '.join(kept)}" if kept else ""
        error.cause = "\n".join(filter(None, (*others, error.cause, there)))
    return error
