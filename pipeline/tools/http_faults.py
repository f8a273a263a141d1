"""What goes wrong in HTTP, in our words: a socket's, TLS's or http.client's fault, and an answer that says no."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz
from typing import Any

from pipeline import jsontext
from pipeline.errors import Ambiguous, ConfigError, PipelineError, RateLimited, ResourceError, Transient
from pipeline.tools import http_answer, proxies

EPOCH = 1e9  # a number as large is no wait but a moment, in seconds since 1970: Docker Hub has been seen to write it so
NETWORK_LOGIN = 511  # RFC 6585, 6: never the server's own

LONGEST = 366 * 86400.0  # seconds; who asks for more patience is not taken at the word


def told(error: Exception, peer: str, *, written: bool = False) -> PipelineError:
    """A socket's, TLS's or http.client's fault in our words; `written` says that a write was under way. `peer` is scheme://host:port."""
    cause = f"{type(error).__name__}: {error}"
    number = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror) and number != socket.EAI_AGAIN:
        return ConfigError(f"{peer}: the name does not resolve", cause=cause, mend="correct the address, or mend this machine's DNS")
    if type(error).__module__ == "ssl":
        if "CERTIFICATE" in str(error).upper():
            return ConfigError(
                f"{peer}: its certificate is not trusted", cause=cause, mend="add its CA to this machine's trust store (or SSL_CERT_FILE)"
            )
        if "WRONG_VERSION_NUMBER" in str(error) or "RECORD_LAYER_FAILURE" in str(error) or "HTTP_REQUEST" in str(error):
            return ConfigError(
                f"{peer}: what answers there does not speak TLS; it was not asked without",
                cause=cause,
                mend="if it is meant to be plain HTTP, write scheme: http in the site file",
            )
    if number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
        return ResourceError(f"{peer}: this machine has no socket left", cause=cause, mend="raise the limit of open files (ulimit -n)")
    if written:
        return Ambiguous(f"{peer}: the connection was lost after a write was sent; its outcome is not known", cause=cause)
    mend = f"look whether {peer} is up and reachable from here"
    if variable := proxies.unspoken(os.environ):
        mend += f"; {variable} names a SOCKS proxy, which is not used: {proxies.HTTP}"
    if isinstance(error, TimeoutError):
        return Transient(f"{peer}: no answer in time", cause=cause, mend=mend)
    return Transient(f"{peer}: the connection failed", cause=cause, mend=mend)


def retry_after(text: str, now: float) -> float | None:
    """Seconds to wait by a Retry-After header in either form (RFC 9110, 10.2.3); None where it says nothing."""
    text = text.strip()
    try:
        if text.isascii() and text.isdigit():
            seconds = float(text)
            wait = seconds - now if seconds >= EPOCH else seconds
        else:
            date = parsedate_tz(text)
            if date is None:
                return None
            wait = mktime_tz(date) - now
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
    return min(max(0.0, wait), LONGEST)


def refusal(status: int, headers: Mapping[str, str], text: str, peer: str, what: str, *, written: bool, now: float) -> PipelineError:
    """What a 408, 429 or 5xx answer to `what` means. A 5xx to a write is Ambiguous: Gitea has answered 500 to manifests it had stored."""
    wait = retry_after(headers.get("retry-after", ""), now)
    cause = f"HTTP {status} {text}".strip()
    if status == 429 or (status == 503 and wait is not None):
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now + (wait or 0)))
        return RateLimited(
            f"{peer} asks for patience ({what})",
            retry_after=5.0 if wait is None else wait,
            cause=cause,
            mend=f"it takes requests again at {until}" if wait else "",
        )
    if status == 413:
        mend = 'what stands before the registry has a limit: client_max_body_size 0 (nginx), proxy-body-size "0" (ingress-nginx)'
        return ConfigError(f"{peer} takes no content of this size ({what})", cause=cause, mend=mend)
    if status == 507:
        return ResourceError(
            f"{peer}: the registry's storage is full ({what})", cause=cause, mend="free space in the registry, then run again"
        )
    if status == 408 or status >= 500:
        kind = Ambiguous if written else Transient
        return kind(f"{peer} failed ({what})", cause=cause, mend=f"look at the log of {peer}")
    return ConfigError(f"{peer} refused {what}", cause=cause, mend="the cause above is the registry's own word")


def in_place(status: int, headers: Mapping[str, str], body: bytes, peer: str, what: str) -> PipelineError | None:
    """Return the error if a web page came in place of the answer to `what`: somebody else answers for `peer`, so that nothing is known of
    it. None for what may be said by a page: that the peer is down (5xx), which login it wants, that content is too large.
    """
    own = {401: "www-authenticate" in headers, 404: "docker-distribution-api-version" in headers, 413: True, NETWORK_LOGIN: False}
    said = http_answer.page(headers, body)
    if said is None or own.get(status, status >= 500):
        return None
    return ConfigError(
        f"{peer}: a proxy answers in its place, with a web page ({what})",
        cause=f"HTTP {status}, {said or 'a page without words'}",
        mend="is the address right? Then a proxy is in the way, which has to let this through (what can be reached without one goes into\n"
        "NO_PROXY), or a network that wants a login in a browser",
    )


def words(body: bytes) -> str:
    """What a registry said, on one line: its error codes and messages where it speaks the specification's JSON, else the first line."""
    try:
        value = jsontext.loads(body)
        if isinstance(value.get("details"), str):  # the token place of Docker Hub
            return str(value["details"])[:500]
        errors: list[dict[str, Any]] = value["errors"]
        return "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors)[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        said = http_answer.page({}, body)
        text = body.decode(errors="replace").strip()
        if said is None and text.startswith("<"):  # the XML of an object store
            said = http_answer.plain(text)
        return (text.split("\n")[0] if said is None else said).strip()[:200]
