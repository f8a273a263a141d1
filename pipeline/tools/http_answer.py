"""HTTP answers as servers really send them: what comes before the answer, where a redirect leads, which login is asked for, and the
web page that somebody else sends in place of the answer."""

from __future__ import annotations

import html
import http.client
import re
from collections.abc import Mapping, Sequence
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

INTERIM = 20  # answers before the answer that are passed over
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
PORTS = {"http": 80, "https": 443}
WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
# what a WWW-Authenticate is made of: `name="value"`, `name=value` (both with blanks around the sign), or the name of a scheme
CHALLENGE = re.compile(rf"""(?P<name>{WORD})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"?|(?P<plain>[^\s,"]*))|(?P<scheme>{WORD})(?=\s|,|$)""")

HTML = ("text/html", "application/xhtml+xml")
READ = 8192  # bytes of a page, or letters, that are read for their words
WEB = re.compile(rb"(?:<\?xml[^>]*>\s*|<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
TITLE = re.compile(r"<(title|h1|h2)\b[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


class Response(http.client.HTTPResponse):
    """The answer to a request, without what may come before it: http.client takes 102 and 103 (Early Hints) for the answer itself.

    Source: RFC 9110, 15.2
    """

    def begin(self) -> None:
        for _ in range(INTERIM):
            super().begin()
            if self.status >= 200 or self.status == http.client.SWITCHING_PROTOCOLS:
                return
            self.headers = self.msg = None  # type: ignore[assignment]  # what http.client has in an answer that was not read yet
        raise http.client.HTTPException(f"more than {INTERIM} answers before the answer")


def redirected(base: str, location: str) -> SplitResult:
    """Return the URL that a Location names, as http.client gives it (each byte a character), if it is met at `base`.

    Bytes that cannot stand in a URL are quoted, a name in other letters is written as DNS has it. Raise ValueError if it is no URL.
    """
    raw, mark, query = location.strip(" \t\r\n").encode("latin-1").partition(b"?")
    text = quote(raw, safe=PRINTABLE) + mark.decode() + quote(query, safe=PRINTABLE + " ").replace(" ", "+")
    there = urlsplit(urljoin(base, text))
    host = (there.hostname or "").lower()  # what follows a % is left as it is by urlsplit
    if "%" not in host:
        return there
    return there._replace(netloc=there.netloc.lower().replace(host, unquote(host).encode("idna").decode()))


def leads_to(there: SplitResult, scheme: str, address: str) -> bool:
    """Return whether a URL leads to `scheme://address`: in whatever case, the scheme's own port named or not.

    Raise ValueError if its port is none.
    """
    own = urlsplit(f"//{address}")
    port = PORTS.get(scheme)
    return (there.scheme, there.username, there.hostname, there.port or port) == (scheme, None, own.hostname, own.port or port)


def target(there: SplitResult) -> str:
    """Return what is asked for at a URL's host: the path with its query."""
    return (there.path or "/") + (f"?{there.query}" if there.query else "")


def challenges(text: str) -> Sequence[tuple[str, Mapping[str, str]]]:
    """Return each login that a WWW-Authenticate asks for: its scheme and its parameters, names in lower case. Quotes may be left out.

    Source: RFC 9110, 11.2 to 11.6.1; several of these headers are one, joined by commas
    """
    found: list[tuple[str, dict[str, str]]] = []
    for part in CHALLENGE.finditer(text):
        if part["scheme"]:
            found.append((part["scheme"].lower(), {}))
        elif found:
            value = part["plain"] if part["quoted"] is None else re.sub(r"\\(.)", r"\1", part["quoted"])
            found[-1][1].setdefault(part["name"].lower(), value)
    return found


def page(headers: Mapping[str, str], body: bytes) -> str | None:
    """Return what the web page says that these headers (names in lower case) and this body are, None if they are none.

    A body is looked at only if no header says what it is: it may be a log, or a layer.
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    start = body[:READ].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not (start[:1] in (b"<", b"") if kind in HTML else not kind and WEB.match(start)):
        return None
    text = start.decode(errors="replace")
    return next(filter(None, (plain(found[2]) for found in TITLE.finditer(text))), "") or plain(text)


def plain(text: str) -> str:
    """Return the words of a text with tags, on one line, at most 200 letters."""
    return " ".join(html.unescape(TAG.sub(" ", text[:READ])).split())[:200]
