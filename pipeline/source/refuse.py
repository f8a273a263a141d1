"""Which files never travel, whatever git says: secrets by their usual names, and this pipeline's own folder; and, of what git does not
know yet, what holds a secret."""

from __future__ import annotations

import posixpath
import re
from fnmatch import fnmatchcase

NAMES = (".env", ".env.*", "id_rsa*", "id_ed25519*", "id_ecdsa*", "id_dsa*", "terraform.tfstate*")
HARMLESS = ("*.example", "*.sample", "*.template", "*.pub")
OWN = ".pipeline"
# of what git does not know: names that nothing but a secret has
PRIVATE = (
    *(".netrc", "_netrc", ".pgpass", ".my.cnf", ".htpasswd", ".git-credentials", ".vault-token", "rackspace_token", "rackspace_spot_token"),
    *("*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk"),
)
# and those whose lines give names to values
SETTINGS = ("*.env", "*.env.*", ".envrc", "*.tfvars", "*.tfvars.json", "credentials", ".npmrc", ".pypirc")
BREAK = rb"(?:\r?\n|\\r?\\n|\\n)"
KEY = re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----[ \t]*" + BREAK + rb"[\s\S]{0,400}?[A-Za-z0-9+/=]{24}")
TOKENS = re.compile(
    rb"AGE-SECRET-KEY-1[0-9A-Z]{50}|AGE-PLUGIN-[A-Z0-9-]+-1[0-9A-Z]{20}"
    rb"|PuTTY-User-Key-File-[0-9]:"
    rb"|\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{40}|\bglpat-[A-Za-z0-9_-]{20}"
    rb"|\bxox[abeprs]-[A-Za-z0-9-]{20}|\b[rs]k_live_[A-Za-z0-9]{20}|\bsk-ant-[A-Za-z0-9_-]{20}|\bSG\.[\w-]{16,}\.[\w-]{30}"
    rb"|\bnpm_[A-Za-z0-9]{36}|\bpypi-AgE[A-Za-z0-9_-]{40}|\bdckr_[a-z]{3}_[A-Za-z0-9_-]{20}|\bdop_v1_[0-9a-f]{64}|\bhvs\.[A-Za-z0-9_-]{20}"
    rb"|\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{20}"
    rb"|(?i:aws_secret_access_key)[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}|\bAccountKey=[A-Za-z0-9+/=]{60}"
    rb"|[\"']?type[\"']?\s*:\s*[\"']service_account[\"'][\s\S]{0,2000}private_key"
    rb"|[\"']auths[\"']\s*:[\s\S]{0,2000}[\"'](?:auth|password|identitytoken)[\"']\s*:\s*[\"'][^\"']{8}"
)
CONFIG = re.compile(rb"(?:^|[\s{,])[\"']?kind[\"']?\s*:\s*[\"']?Config\b")
ACCESS = re.compile(rb"[\"']?\b(?:client-key-data|token|password)[\"']?\s*:\s*[\"']?[^\s\"'{}]{6}")
SETTING = re.compile(
    rb"(?im)^[ \t]*(?:export[ \t]+)?[\"']?[\w./:-]*(?:password|passwd|secret|token|api_?key|private_?key|credential)[\w.-]*[\"']?"
    rb"[ \t]*[=:][ \t]*[\"']?[^\s\"'#$<{]{6}"
)


def refused(path: str, content: bytes = b"") -> bool:
    """Whether the file at `path` (with `/` between folders) has to stay. Of a `*.pem` the `content` decides: certificates may travel,
    private keys may not."""
    name = posixpath.basename(path)
    if path.split("/", 1)[0] == OWN:
        return True
    if name.endswith(".pem"):
        return b"PRIVATE KEY" in content
    return _has(name, NAMES) and not _has(name, HARMLESS)


def is_named(path: str) -> bool:
    """Return whether a file's name is one that secrets have: its content is looked at then."""
    name = posixpath.basename(path)
    return name.endswith(".pem") or (_has(name, NAMES) and not _has(name, HARMLESS))


def is_tracked_secret(path: str, content: bytes) -> bool:
    """Return whether a file that git tracks has to stay: settings and keys by what they hold, since many an .env holds no secret."""
    name = posixpath.basename(path)
    if not refused(path, content):
        return False
    by_name = path.split("/", 1)[0] == OWN or name.startswith("terraform.tfstate") or name.endswith(".pem")
    return by_name or any(pattern.search(content) for pattern in (KEY, TOKENS, SETTING))


def is_secret(path: str, content: bytes) -> bool:
    """Whether a file that git does not know has to stay: by its name, or since `content` is, or holds, what opens something."""
    name = posixpath.basename(path)
    if refused(path, content) or _has(name, PRIVATE):
        return True
    if KEY.search(content) or TOKENS.search(content) or (CONFIG.search(content) and ACCESS.search(content)):
        return True
    return _has(name, SETTINGS) and not _has(name, HARMLESS) and SETTING.search(content) is not None


def _has(name: str, rules: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, rule) for rule in rules)
