"""Why a registry said no: a wrong or expired token, one that lacks a scope, a package that is private or not there; and what mends it.

Texts are what GHCR and Docker Hub were seen to answer: tests/cases/registry/denials.yml says where. Registries do not tell a private
repository from a missing one, on purpose; neither is claimed here.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from pipeline import jsontext
from pipeline.errors import AuthError
from pipeline.tools.logins import Login
from pipeline.tools.providers import DOCKER_HUB, GHCR

WORDS = {
    "sso": r"SAML|SSO is enforced|single sign",
    "scope": r"does not match expected scopes|insufficient[_ ]scope",
    "link": r"write_package|read_package",
    "install": r"installation not allowed to (?:create|write)",
    "limit": r"toomanyrequests|rate limit",
    "login": r"cannot be authenticated with the token|incorrect username or password|bad credentials|invalid[_ ]token|token (?:is )?exp",
}
TOKENS = "https://github.com/settings/tokens"


@dataclass(frozen=True)
class Denial:
    """A no: `registry` is scheme://address, `provider` its name; `words` its own, `token` whether it came from the place that gives
    tokens; `writing` says what was tried; `granted` which actions the token in hand is good for (None: it does not say)."""

    registry: str
    provider: str
    repository: str
    words: str
    status: int = 401
    token: bool = False
    writing: bool = False
    login: Login | None = None
    granted: frozenset[str] | None = None


def reason(denial: Denial) -> str:
    """One of WORDS' names, or `granted`, `private` or `unknown`: the one word for what is wrong."""
    for name, pattern in WORDS.items():
        if re.search(pattern, denial.words, re.IGNORECASE):
            return name
    if denial.login is None:
        return "private"
    if denial.token:
        return "login"  # the place that gives tokens looks at nothing but the user and the password
    if denial.granted is not None and ("push" if denial.writing else "pull") not in denial.granted:
        return "granted"
    return "unknown"


def told(denial: Denial) -> AuthError:
    """The error with what to do next."""
    why = reason(denial)
    login = denial.login
    who = (f"user {login.username}" if login.username else "the owner of its token") if login else "a request without a user"
    by = f" (from {login.source})" if login and login.source else ""
    what = {
        "login": f"{denial.registry} does not know this user and password: {who}{by}",
        "private": f"{denial.registry} refused {who} for {denial.repository}: it is private, or does not exist",
        "scope": f"the token of {who}{by} lacks a scope for {denial.repository} of {denial.registry}",
        "granted": f"{denial.registry} lets {who}{by} {_allowed(denial)} {denial.repository}",
        "sso": f"the organization of {denial.repository} wants single sign-on, which the token of {who}{by} has not been authorized for",
        "link": f"the repository that runs this may not use the package {denial.repository} of {denial.registry}",
        "install": f"GitHub does not let this workflow's token write packages: {denial.repository}",
    }.get(why, f"{denial.registry} refused {who}{by} for {denial.repository}")
    if why == "unknown" and denial.status == 403:
        what = f"{denial.registry} does not allow this account{by} to use {denial.repository}"
    return AuthError(what, cause=f"HTTP {denial.status} {denial.words}".strip(), mend=_mend(denial, why))


def _allowed(denial: Denial) -> str:
    return "do nothing with" if not denial.granted else f"only {' and '.join(sorted(denial.granted))}"


def _mend(denial: Denial, why: str) -> str:
    if denial.provider == GHCR:
        return _of_github(denial, why)
    if why == "private":
        return "check the name; if it is private, name a username and password of the registry in the site file, or docker login"
    if why == "sso":
        return "make a personal access token in the organization's account, and log in with it"
    if denial.provider == DOCKER_HUB:
        own = f"https://hub.docker.com/r/{denial.repository}: the account must be a collaborator with the right to {_need(denial)}"
        return (
            "make a new access token at https://app.docker.com/settings/personal-access-tokens, and log in with it"
            if why == "login"
            else own
        )
    if why == "login":
        return "check the registry's username and password in the site file: the key may be wrong, expired or withdrawn"
    return f"check the registry's username and password in the site file: the key must be valid and allowed to {_need(denial)} packages"


def _need(denial: Denial) -> str:
    return "write" if denial.writing else "read"


def _of_github(denial: Denial, why: str) -> str:
    need = f"{_need(denial)}:packages"
    password = denial.login.password if denial.login else ""
    owner, _, name = denial.repository.partition("/")
    if password.startswith("github_pat_"):
        return f"GHCR takes no fine-grained token: make a classic one with {need} at {TOKENS}, and put it in GHCR_PAT"
    in_workflow = password.startswith("ghs_")
    if why in ("scope", "install", "granted") and in_workflow:
        return f"give the job `permissions: {{packages: {_need(denial)}}}`; an organization has to allow it in its settings, Packages"
    return {
        "scope": f"give the token {need} at {TOKENS} (gh auth refresh --scopes {need})",
        "granted": f"give the token {need} at {TOKENS} (gh auth refresh --scopes {need})",
        "sso": f"open {TOKENS}, Configure SSO at this token, and authorize it for {owner}",
        "link": f"open the package's settings (https://github.com/orgs/{owner}/packages/container/{name}/settings), Manage Actions access,"
        " and add the repository with the role Write",
        "install": f"give the job `permissions: {{packages: write}}`; in the settings of {owner}, Packages, allow packages to be created",
        "login": f"the token is wrong, expired or withdrawn: make one with {need} at {TOKENS}, and put it in GHCR_PAT",
        "private": f"check the name; if it is private, put a token with {need} in GHCR_PAT, or docker login ghcr.io;"
        f" or make it public in the package's settings",
    }.get(why, f"the token needs {need}, and its owner access to {denial.repository} (the package's settings, Manage access)")


def granted(token: str, repository: str) -> frozenset[str] | None:
    """The actions that a JSON web token names for a repository, None where it is not one (GHCR's are not). Its word is used for
    messages alone. Source: https://distribution.github.io/distribution/spec/auth/jwt/"""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = jsontext.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        access = [entry for entry in claims["access"] or () if (entry["type"], entry["name"]) == ("repository", repository)]
        return frozenset(str(action) for entry in access for action in entry["actions"] or ())
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
