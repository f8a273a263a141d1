"""What a tool gets of the environment: the user's own, less what is known to do harm; and the way out, which is the same for every tool.

A proxy is named by HTTPS_PROXY (either case), else by ALL_PROXY, which Go's programs do not read; the authorities of a company by
SSL_CERT_FILE or one of the names that other programs have for it. Every tool gets both under the names that it reads.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROXY = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
EXCLUDED = ("NO_PROXY", "no_proxy")
AUTHORITIES = ("SSL_CERT_FILE", "NIX_SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO")
SYSTEM = "/etc/ssl/certs"
SECRET = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY)(_|$)", re.IGNORECASE)
LOGIN = re.compile(r"://[^/\s:@]*:[^/\s@]+@")  # a password in a URL
# whose secrets a plugin or a helper of theirs needs: clouds, forges, and those who keep identities
OWNERS = ("AWS_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "AZURE_", "AAD_", "ARM_", "DIGITALOCEAN_", "OCI_", "TELEPORT_", "TSH_", "VAULT_",
          "BAO_", "ALIBABA_", "ALICLOUD_", "HCLOUD_",
          "LINODE_", "SCW_", "IBMCLOUD_", "CIVO_", "EXOSCALE_", "OVH_", "VULTR_", "YC_", "OS_", "RANCHER_", "OKTA_",
          "BOUNDARY_", "OP_", "GH_", "GITHUB_", "GITLAB_", "CI_", "ACTIONS_", "BITBUCKET_", "SYSTEM_", "SPOT_", "RXTSPOT_")  # fmt: skip


def user() -> str:
    """Return the name of who runs this, their number if this machine has no name for it, as in a container. Libraries that ask for it by
    themselves (paramiko, for each machine) get the same answer then, and do not fail."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # Python 3.13 raises OSError, earlier ones KeyError
        return os.environ.setdefault("LOGNAME", str(os.getuid()))


def home() -> str:
    """Return the home that the password file gives to who runs this, "" if they do not stand in it."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return ""


@dataclass(frozen=True)
class Rule:
    """What is withheld from a tool: names that begin with one of `prefixes`, except those of `kept`; and `secrets`, except those of OWNERS.

    `authorities` are the names under which it looks for the file of certificates; with `folder` it takes those of the system beside it,
    as other tools do by themselves.
    """

    prefixes: tuple[str, ...]
    kept: tuple[str, ...] = ()
    secrets: bool = True
    authorities: tuple[str, ...] = ("SSL_CERT_FILE",)
    folder: str = ""

    def withholds(self, name: str, value: str) -> bool:
        if self.kept and name.startswith(self.kept):
            return False
        if name.startswith(self.prefixes):
            return True
        is_secret = bool(SECRET.search(name)) or (name not in PROXY and bool(LOGIN.search(value)))
        return self.secrets and is_secret and not name.startswith(OWNERS)


ASKING = ("SSH_ASKPASS", "DISPLAY", "WAYLAND_DISPLAY")  # nobody is there to answer a window
PLAIN = ("HTTP_PROXY", "http_proxy")  # a proxy would read what goes over plain http, credentials too
# GIT_* of a surrounding hook or shell would point at another index, object store or work tree, or trace what is secret
GIT = Rule(
    ("GIT_", *ASKING, *PLAIN),
    kept=("GIT_SSL_CA", "GIT_SSL_CERT", "GIT_SSL_KEY", "GIT_PROXY_SSL_", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM",
          "GIT_CONFIG_COUNT", "GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_"),
    authorities=("GIT_SSL_CAINFO",), folder="GIT_SSL_CAPATH",
)  # fmt: skip
# they would lead to another cluster, another namespace or another store of releases, or start programs
KUBE = Rule(("KUBECONFIG", "KUBECTL_", "KUBECFG_", "KUBE_", "KUBERC", "KUBECACHEDIR", "HELM_", "POD_NAMESPACE", *ASKING, *PLAIN))
# they would change what is called or where its state lies, or write secrets into its output
TERRAFORM = Rule(("TF_CLI_ARGS", "TF_LOG", "TF_DATA_DIR", "TF_WORKSPACE", "TF_INPUT", "TF_REATTACH_PROVIDERS"), secrets=False)


def passed(rule: Rule, given: Mapping[str, str]) -> dict[str, str]:
    """Return what of `given` the tool gets."""
    found = {name: value for name, value in given.items() if not rule.withholds(name, value)}
    proxy, excluded, authorities = first(PROXY, given), first(EXCLUDED, given), first(AUTHORITIES, given)
    for name in PROXY[2:]:
        found.pop(name, None)
    # programs that look for both cases do so in one order or the other
    for names, chosen in ((PROXY[:2], proxy), (EXCLUDED, excluded)):
        if chosen and given[chosen] and not is_socks(given[chosen]):
            found |= dict.fromkeys([name for name in names if name in found] or names[:1], given[chosen])
    if authorities:
        found |= {name: given[authorities] for name in rule.authorities if not given.get(name)}
        folder = given.get("SSL_CERT_DIR") or SYSTEM
        if rule.folder and not given.get(rule.folder) and Path(folder).is_dir():
            found[rule.folder] = folder
    return found


def withheld(rule: Rule, given: Mapping[str, str]) -> list[str]:
    """Return the names of what it does not get."""
    return sorted(name for name, value in given.items() if rule.withholds(name, value))


def first(names: tuple[str, ...], given: Mapping[str, str]) -> str:
    """Return the first of `names` that says something, "" if none does."""
    return next((name for name in names if given.get(name)), "")


def is_socks(proxy: str) -> bool:
    """Whether it is no proxy of HTTP: most tools do not speak to it."""
    return proxy.lower().startswith("socks")
