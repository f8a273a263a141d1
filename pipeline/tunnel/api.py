"""Cloudflare's API through its official library: what is there read whole, one change written at a time, faults in our words.

The library is imported on first use and comes with the extra `cloudflare`. Its own retries are off. The answers are taken as they came
and not through the library's models: what those do not know would be lost when it is written back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pipeline.errors import Ambiguous, AuthError, ConfigError, IntegrityError, PipelineError, RateLimited, Transient
from pipeline.tools.http_faults import retry_after
from pipeline.tunnel.changes import Change, State
from pipeline.tunnel.spec import Tunnel

if TYPE_CHECKING:
    import httpx

SECONDS = 20.0  # for one call
NEEDED = "its token may: edit Cloudflare Tunnel (account), edit DNS, read Zone Settings (zone)"


class Api:
    """The calls for one route. Every method raises AuthError, ConfigError, RateLimited or Transient; `write` Ambiguous where the outcome
    is unknown."""

    def __init__(self, spec: Tunnel, token: str) -> None:
        try:
            import cloudflare
        except ImportError as error:
            raise ConfigError(
                "Cloudflare's library is not installed",
                cause=str(error),
                mend="pip install 'pipeline[cloudflare]', or pip install cloudflare",
            ) from error
        self._spec = spec
        self._library = cloudflare
        self._client = cloudflare.Cloudflare(api_token=token, base_url=spec.api, max_retries=0, timeout=SECONDS)

    def read(self) -> State:
        """All that the route touches, as it is."""
        spec, client = self._spec, self._client
        configurations = client.zero_trust.tunnels.cloudflared.configurations.with_raw_response
        found = self._asked("tunnel", lambda: configurations.get(spec.tunnel, account_id=spec.account).http_response)
        config = (found or {}).get("config") or {}
        listed = self._asked(
            "DNS records", lambda: client.dns.records.with_raw_response.list(zone_id=spec.zone, name={"exact": spec.hostname}).http_response
        )
        if not isinstance(config, dict) or not _mappings(config.get("ingress") or []):
            raise _strange("a tunnel's configuration", found)
        if not _mappings(listed):
            raise _strange("a list of records", listed)
        return State(config, listed)

    def tls(self) -> str:
        """The zone's TLS mode: off, flexible, full, strict (or origin_pull)."""
        settings = self._client.zones.settings.with_raw_response
        found = self._asked("zone settings", lambda: settings.get("ssl", zone_id=self._spec.zone).http_response)
        return str((found or {}).get("value") or "")

    def write(self, change: Change) -> None:
        """Make one change."""
        client = self._client
        calls: dict[str, Callable[..., Any]] = {"PUT": client.put, "POST": client.post, "PATCH": client.patch}
        import httpx

        self._asked(change.what, lambda: calls[change.method](change.path, body=dict(change.body), cast_to=httpx.Response), writes=True)

    def close(self) -> None:
        self._client.close()

    def _asked(self, what: str, call: Callable[[], httpx.Response], *, writes: bool = False) -> Any:
        try:
            answer = call().json()
        except self._library.APIStatusError as error:
            raise _refused(what, error, writes) from error
        except self._library.APIConnectionError as error:
            kind = Ambiguous if writes else Transient
            cause = f"{type(error.__cause__).__name__}: {error.__cause__}" if error.__cause__ else str(error)
            raise kind(
                f"Cloudflare cannot be reached ({what})", cause=cause, mend=f"look whether {self._spec.api} answers from here"
            ) from error
        except ValueError as error:
            raise _strange("JSON", str(error)) from error
        if not isinstance(answer, dict) or answer.get("success") is not True:
            raise _strange("success", answer)
        return answer.get("result")


def _refused(what: str, error: Any, writes: bool) -> PipelineError:
    """What a status means. The texts are Cloudflare's own: `errors` of its answer."""
    status = int(error.status_code)
    cause = f"HTTP {status} {_words(error.body)}".strip()
    if status in (401, 403) or (status == 400 and "authenticat" in cause.lower()):
        return AuthError(f"Cloudflare refuses the token ({what})", cause=cause, mend=NEEDED)
    if status == 404:
        return ConfigError(
            f"Cloudflare knows no such thing ({what})", cause=cause, mend="are tunnel, account and zone of the section tunnel right?"
        )
    if status == 429:
        wait = retry_after(str(error.response.headers.get("retry-after", "")), time.time())
        return RateLimited(f"Cloudflare asks for patience ({what})", retry_after=5.0 if wait is None else wait, cause=cause)
    if status >= 500:
        return (Ambiguous if writes else Transient)(f"Cloudflare failed ({what})", cause=cause, mend="see https://www.cloudflarestatus.com")
    return ConfigError(f"Cloudflare refused: {what}", cause=cause, mend="the cause above is Cloudflare's own word")


def _words(body: object) -> str:
    errors = body.get("errors") if isinstance(body, dict) else None
    if not isinstance(errors, list):
        return ""
    return "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors if isinstance(error, dict))[:500]


def _mappings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _strange(wanted: str, answer: object) -> IntegrityError:
    return IntegrityError(f"Cloudflare's answer is not {wanted}", cause=str(answer)[:300], mend="does tunnel.api name Cloudflare's API?")
