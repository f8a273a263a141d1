"""What Flux's image controllers say when they cannot go on, and the lines that mend it (recorded from image-reflector-controller 1.1; what
image-automation-controller says is from its documentation)."""

from __future__ import annotations

from pipeline.tools.flux import Sign, State
from pipeline.tools.flux_rules import LATER, Rule, meaning
from pipeline.tools.flux_words import Words, again, filled, suspended, tidy

LOGIN = (
    "make the Secret that spec.secretRef of {object} names, in {namespace}:\n"
    "kubectl -n {namespace} create secret docker-registry NAME --docker-server=HOST --docker-username=NAME --docker-password=…\n"
    "and name it in gitops.automation.secrets of the blueprint"
)
REPOSITORY = (
    Rule(r"(?:secrets? \"(?P<which>[^\"]+)\" not found|failed to get secret)", "login",
         "the Secret that {object} logs in with is not there", LOGIN),
    Rule(r"(?:UNAUTHORIZED|unauthorized|DENIED|denied|[^:\n]*40[13] (?:Unauthorized|Forbidden)|[^:\n]*status code 40[13]\b"
         r"|authentication required|incorrect username)", "login",
         "the registry refuses Flux's login", LOGIN),
    Rule(r"(?:NAME_UNKNOWN|repository name not known|[^:\n]*404 Not Found)", "absent",
         "the registry has no such repository, or shows it to nobody",
         "publish an image: inv push; or correct it in gitops.automation.images"),
    Rule(r"image '[^']*' should not include", "address", "{object} names no repository",
         "correct it in gitops.automation.images (HOST/PATH), then inv flux.init"),
    Rule(r"http: server gave HTTP response to HTTPS client", "http", "the registry speaks plain http, and Flux asked by https",
         "say scheme: http of that registry in the site file, then inv flux.init"),
    Rule(r"x509: ", "tls", "Flux does not trust the registry's certificate", "name a Secret with its CA in spec.certSecretRef of {object}"),
    Rule(r"(?:[^:\n]*429 Too Many Requests|TOOMANYREQUESTS|[Tt]oo many requests|[^:\n]*rate limit)", "fetch",
         "the registry asks Flux for patience", LATER, passing=True),
    Rule(r"(?:connection refused|i/o timeout|no such host|no route to host|connection reset by peer|context deadline exceeded"
         r"|(?:unexpected )?EOF$"
         r"|(?:[^:\n]*status[^:\n]* )?50[0234] [A-Z])",
         "fetch", "image-reflector-controller cannot reach the registry", LATER, passing=True),
)  # fmt: skip
POLICY = (
    Rule(r"version list argument cannot be empty", "none", "no tag of the repository is one that {object} looks for",
         "publish one: `tags: [sortable@main]` in the build stage, then inv push; or correct gitops.automation.policies (inv flux.init)"),
    Rule(r"(?:failed to parse )?invalid numeric value '(?P<text>[^']*)'", "policy",
         "{object} compares numbers, and {text!r} of a tag is none",
         "let `extract` of gitops.automation.policies take digits alone, or say order: alphabetical; then inv flux.init"),
    Rule(r"unable to determine latest version", "none", "no tag is a version in the range of {object}",
         "publish one, or correct `range` in gitops.automation.policies (inv flux.init)"),
    Rule(r"(?:failed to filter tags|invalid policy|invalid regular expression)", "policy", "{object} cannot be read",
         "correct gitops.automation.policies, then inv flux.init"),
    Rule(r"failed fetching digest[^\n]*gave HTTP response to HTTPS client", "http",
         "the digest cannot be asked for: image-reflector-controller reads digests by https alone, but from private addresses",
         "say digest: never in gitops.automation.policies and write lines by tag; or give the registry TLS"),
    Rule(r"(?:no tags in database|[^:\n]*retrying in )", "waiting", "{object} waits for its repository to be scanned", LATER, passing=True),
    Rule(r"(?:referenced ImageRepository does not exist|failed to get the referred ImageRepository)", "absent",
         "{object} names an ImageRepository that is not there", "inv flux.init writes both"),
)  # fmt: skip
UPDATE = (
    Rule(r"(?:[^:\n]*(?:read.only|not authorized to write|denied to )|Write access|[Dd]eploy [Kk]ey|authorization failed)", "readonly",
         "Flux's key may not write to the GitOps repository", "inv flux.bootstrap registers a key that may, where gitops.automation is on"),
    Rule(r"[^:\n]*(?:[Pp]rotected branch|hook declined|rule violations)", "refused", "the GitOps repository refuses Flux's commit",
         "let Flux's key push to that branch, or name another: push_branch in gitops.automation"),
    Rule(r"[^:\n]*(?:\.Updated|removed template|template)", "template", "the template of its commit message cannot be read",
         "write .Changed in it (.Updated is no more): inv flux.migrate"),
    Rule(r"(?:connection refused|i/o timeout|no such host|connection reset by peer|context deadline exceeded)", "fetch",
         "image-automation-controller cannot reach the GitOps repository", LATER, passing=True),
)  # fmt: skip
RULES = {"ImageRepository": REPOSITORY, "ImagePolicy": POLICY + REPOSITORY, "ImageUpdateAutomation": UPDATE}


def words(state: State) -> Words | None:
    """What keeps an image object from going on; None where nothing does."""
    ref = state.ref
    if state.suspended:
        return suspended(ref)
    for sign in (state.stalled, state.ready):
        bad = sign.status == ("True" if sign is state.stalled else "False")
        if bad:
            return _told(state, sign)
    if state.ready.status != "True" or state.observed < state.generation:
        return Words("waiting", f"{ref} was not looked at yet", mend=filled(LATER, state, {}), passing=True)
    return None


def _told(state: State, sign: Sign) -> Words:
    if found := meaning(RULES[state.ref.kind], sign.message):
        rule, groups = found
        return Words(rule.kind, filled(rule.what, state, groups), tidy(sign.message), filled(rule.mend, state, groups), rule.passing)
    return Words("other", f"{state.ref} cannot go on", tidy(sign.message), f"correct what the cause names; then: {again(state.ref)}")
