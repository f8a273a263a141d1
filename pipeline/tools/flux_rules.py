"""What the messages of Flux's controllers mean, one rule a line: recorded from source-controller 1.7, kustomize-controller 1.7 and
helm-controller 1.4; what could not be provoked is from their source."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.tools.meanings import find


@dataclass(frozen=True)
class Rule:
    """What a message that `pattern` finds means. In `what` and `mend`, {object}, {name}, {namespace}, {url}, {branch}, {secret}, {path},
    {chart}, {source}, {again} and the pattern's own groups stand for what they say."""

    pattern: str
    kind: str
    what: str
    mend: str
    passing: bool = False


LATER = "nothing to do, if it passes; it is looked at again by itself, and at once by: {again}"
REFUSED = Rule(r"(?:(?:ssh: )?unable to authenticate|authentication required|authorization failed|invalid credentials|Permission denied"
     r"|[^:\n]*40(?:1 Unauthorized|3 Forbidden)|UNAUTHORIZED|DENIED)", "fetch",
     "{url} refuses Flux's login",
     "give the key of Secret {namespace}/{secret} the right to read there (a deploy key of the repository, a token of the registry): "
     "inv flux.bootstrap; then: {again}")  # fmt: skip
SOURCE = (
    Rule(r"no space left on device", "fetch", "source-controller has no room to store what it fetched",
         "free or enlarge the volume of source-controller (/data), then: {again}"),
    Rule(r"(?:knownhosts: key mismatch|host key mismatch)", "fetch", "the git server's host key is not the one that Flux was told",
         "if the server was set up anew, compare its fingerprint with the new one, then put it into `known_hosts` of Secret "
         "{namespace}/{secret}: inv flux.bootstrap"),
    Rule(r"(?:knownhosts: key is unknown|hostkey[^:]* not )", "fetch", "Flux was not told the git server's host key",
         "put the server's line into `known_hosts` of Secret {namespace}/{secret}: inv flux.bootstrap"),
    Rule(r"(?:failed to get secret '(?P<which>[^']+)'|secrets? \"(?P<other>[^\"]+)\" not found)", "fetch",
         "the Secret that {object} logs in with is not there", "make Secret {namespace}/{secret}: inv flux.bootstrap"),
    REFUSED,
    Rule(r"(?:couldn't find remote ref|reference not found|remote ref[^:\n]* not found|couldn't find (?:any )?branch)", "fetch",
         "branch {branch} is not in {url}", "push the branch, or correct spec.ref of {object}"),
    Rule(r"(?:[Rr]epository not found|repository does not exist|invalid pkt-len found)", "fetch",  # the last is what Gitea's words become
         "there is no repository {url}, or not for Flux", "correct spec.url of {object}, or let its login read the repository"),
    Rule(r"git repository is empty", "fetch", "{url} is empty", "push a first commit: inv flux.init, inv flux.bootstrap"),
    Rule(r"(?:MANIFEST_UNKNOWN|NAME_UNKNOWN|manifest unknown|no match found for semver|[^:\n]*404 Not Found)", "fetch",
         "{url} does not have what {object} asks for", "publish it (inv chart.push), or correct spec.url and spec.ref"),
    Rule(r"(?:no matching signatures|failed to verify (?:the )?signature)", "fetch",
         "what {object} fetched is not signed as it has to be", "sign it, or correct spec.verify"),
    Rule(r"x509: ", "fetch", "Flux does not trust the certificate of {url}",
         "put the CA's certificate into `ca.crt` of Secret {namespace}/{secret}"),
    Rule(r"(?:[^:\n]*429 [Tt]oo [Mm]any [Rr]equests|[Tt]oo many requests|TOOMANYREQUESTS|[^:\n]*rate limit)", "fetch",
         "{url} asks Flux for patience", LATER, passing=True),
    Rule(r"(?P<why>connection refused|i/o timeout|no such host|no route to host|network is unreachable|connection reset by peer"
         r"|context deadline exceeded|TLS handshake timeout|net/http: TLS handshake timeout|(?:unexpected )?EOF$|server misbehaving"
         r"|(?:[^:\n]*status[^:\n]* )?50[0234] [A-Z][^:\n]*)", "fetch",
         "source-controller cannot reach {url}: {why}", LATER, passing=True),
)  # fmt: skip
CHART = (
    Rule(r"(?:chart metadata patch error|failed to parse version|chart package error|cannot load |validation: chart\.metadata)", "chart",
         "the chart is malformed", "correct what the cause names: helm lint shows the same"),
    Rule(r"(?:invalid chart reference: |chart reference |no such file or directory|no chart version found|[^:\n]*not found in [^:\n]*index"
         r"|chart pull error[^\n]*not found)", "chart", "there is no chart where {object} is told to look",
         "put it there, or correct spec.chart of the HelmRelease"),
    Rule(r"dependency build error", "chart", "the chart's dependencies cannot be had",
         "vendor them into the chart (helm dependency update), and commit charts/ and Chart.lock"),
    Rule(r"(?:values files merge error|no values file found)", "chart", "a file of values that the HelmRelease names is not in the chart",
         "correct spec.chart.spec.valuesFiles"),
    Rule(r"(?:no artifact|latest generation of object has not been reconciled|[^:\n]*does not have an artifact)", "waiting",
         "{object} waits for its source", LATER, passing=True),
)  # fmt: skip
KUSTOMIZE = (
    Rule(r"kustomization path not found", "build", "the folder {path} is not in the commit",
         "commit it, or correct spec.path of {object}"),
    Rule(r"no matches for kind \"(?P<kindname>\w+)\" in version \"(?P<version>[^\"]+)\"", "apply",
         "the cluster has no {kindname} in {version}",
         "where it is one of Flux's own, its version is an old one: inv flux.migrate; else let what defines it come first (dependsOn)"),
    Rule(r"admission webhook \"(?P<hook>[^\"]+)\" denied the request", "apply", "the admission webhook {hook} refused what was committed",
         "correct what it names, and commit"),
    Rule(r"ValidatingAdmissionPolicy '(?P<policy>[^']+)'[^:\n]* denied request", "apply",
         "the admission policy {policy} refused what was committed", "correct what it names, and commit"),
    Rule(r"failed calling webhook \"(?P<hook>[^\"]+)\"", "apply", "the admission webhook {hook} does not answer",
         "look at the pods behind it (kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations); " + LATER, passing=True),
    Rule(r"field is immutable", "apply", "a field that cannot be changed was changed",
         "put it back, or let Flux make the object anew: annotate it in the repository with kustomize.toolkit.fluxcd.io/force: enabled"),
    Rule(r"namespaces? \"(?P<which>[^\"]+)\" not found", "apply", "namespace {which} is not there",
         "commit its Namespace (fade/namespace.yaml in the plan's layout), or let a Kustomization that has it come first (dependsOn)"),
    Rule(r"User \"(?P<who>[^\"]+)\" cannot ", "apply", "{who} may not apply what was committed",
         "grant it, or take spec.serviceAccountName out of {object}"),
    Rule(r"(?P<kindname>\w+)\.source\.toolkit\.fluxcd\.io \"(?P<which>[^\"]+)\" not found", "absent",
         "{object} follows {kindname} {which}, which is not there", "correct its spec.sourceRef, or make that: inv flux.bootstrap"),
    Rule(r"(?:failed to create typed patch object|unknown field |strict decoding error|[\w.-]+ \"[^\"]*\" is invalid: "
         r"|\S+ dry-run failed \(Invalid\))", "apply",
         "the API refuses what was committed", "correct the field that the cause names, and commit"),
    Rule(r"(?:cannot get |[^:\n]*not found, retrying|[Aa]rtifact not found|[^:\n]*not ready, artifact|artifact [^:\n]*(?:digest"
         r"|checksum)|failed to download)",
         "waiting", "{object} waits for what its source stores", LATER, passing=True),
    Rule(r"(?:etcdserver: |leader changed|connection refused|i/o timeout|(?:net/http: )?TLS handshake timeout|client rate limiter "
         r"|[Tt]oo many requests)",
         "apply", "the cluster's API did not answer kustomize-controller", LATER, passing=True),
)  # fmt: skip
HELM = (
    Rule(r"values don't meet the specifications of the schema", "values", "the chart refuses the values",
         "correct what the cause names, in the values that people keep (values.yaml) or in `values` of the blueprint, and release again"),
    Rule(r"(?:could not (?:find|resolve|get) (?:ConfigMap|Secret)|(?:configmaps|secrets) \"[^\"]+\" not found)", "values",
         "what valuesFrom of {object} names is not there", "commit it beside the release: the cause says which"),
    Rule(r"(?:template: |execution error at|parse error at|error calling include|YAML parse error on|error converting YAML"
         r"|[\w./-]+/templates/[\w./-]+:\d+)", "chart",
         "the chart does not render with these values", "correct the template that the cause names: helm template shows the same"),
    Rule(r"field is immutable", "upgrade", "the chart changes a field that cannot be changed",
         "put it back, or take the object away by hand, or let upgrade.force be set for once"),
    Rule(r"(?:invalid ownership metadata|[^:\n]*cannot be imported into the current release)", "install",
         "something of that name is in the cluster already and is not this release's",
         "take it away, or label and annotate it as the cause says"),
    Rule(r"(?:another operation \(install/upgrade/rollback\) is in progress|PendingRelease)", "upgrade",
         "another Helm operation holds the release", LATER, passing=True),
    Rule(r"(?:no matches for kind \"(?P<kindname>\w+)\" in version \"(?P<version>[^\"]+)\"|unable to recognize )", "apply",
         "the cluster does not have a kind that the chart uses", "install what defines it (a CRD), or correct the chart's apiVersion"),
    Rule(r"namespaces? \"(?P<which>[^\"]+)\" not found", "install", "namespace {which} is not there",
         "commit its Namespace, or set install.createNamespace"),
    Rule(r"(?:admission webhook \"(?P<hook>[^\"]+)\" denied the request|ValidatingAdmissionPolicy '(?P<policy>[^']+)')", "upgrade",
         "an admission policy of the cluster refused what the chart makes", "correct what the cause names"),
    Rule(r"exceeded quota: ", "upgrade", "the namespace's quota is used up", "raise the quota, or ask for less"),
    Rule(r"User \"(?P<who>[^\"]+)\" cannot ", "upgrade", "{who} may not do what the chart needs",
         "grant it, or correct spec.serviceAccountName of {object}"),
    Rule(r"(?:(?:pre|post)-(?:install|upgrade|rollback|delete) hooks? failed|failed (?:pre|post)-)", "upgrade",
         "a hook of the chart failed", "kubectl logs of its job says why"),
    Rule(r"(?:context deadline exceeded|timed out waiting|resource [^\n]* not ready|Progress deadline|ProgressDeadlineExceeded)", "rollout",
         "what the chart made did not come up in time",
         "see its pods: kubectl get pods -n {namespace}, and kubectl describe those that are not ready"),
    Rule(r"(?:Helm test failed|test hook)", "health", "the chart's tests failed", "kubectl logs of the test's pod says why"),
    Rule(r"no space left on device", "chart", "helm-controller has no room left", "free or enlarge its volume (/tmp), then: {again}"),
    Rule(r"(?:[^:\n]* is not ready: |[Aa]rtifact not found|could not get Source object|Could not load chart|source not ready)", "waiting",
         "{object} waits for its chart", LATER, passing=True),
)  # fmt: skip


def meaning(rules: tuple[Rule, ...], message: str) -> tuple[Rule, dict[str, str]] | None:
    """Return the first rule that says what a message means, and what its groups found there; None if none does."""
    if (found := find(rules, (message,))) is None:
        return None
    rule, match = found
    return rule, {key: value for key, value in match.groupdict().items() if value}
