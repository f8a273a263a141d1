{{/* The plan's own names: the nodes are found by them, in this namespace. */}}
{{- define "fade.server" -}}fade-server{{- end -}}
{{- define "fade.node" -}}repram-node{{- end -}}
{{- define "fade.nodes" -}}repram-nodes{{- end -}}

{{/* Takes (list . COMPONENT). These never change in a release's life: a Deployment's selector is immutable. */}}
{{- define "fade.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "fade.labels" -}}
{{- $root := index . 0 -}}
{{ include "fade.selector" . }}
{{- with $root.Values.version }}
app.kubernetes.io/version: {{ . | replace "+" "_" | trunc 63 | trimAll "-_." | quote }}
{{- end }}
app.kubernetes.io/part-of: fade
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* Takes (list . COMPONENT VALUES): what both kinds of pod share. */}}
{{- define "fade.pod" -}}
{{- $root := index . 0 -}}
{{- $values := index . 2 -}}
{{- if ge (int $values.drainSeconds) (int $values.terminationGracePeriodSeconds) -}}
{{- fail (printf "%s.drainSeconds must be below its terminationGracePeriodSeconds: the kubelet would kill it while it drains" (index . 1)) -}}
{{- end -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65534
  runAsGroup: 65534
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "fade.selector" (list $root (index . 1)) | nindent 8 }}
{{- end -}}

{{- define "fade.container" -}}
{{- $image := (index . 2).image -}}
{{- if $image.digest -}}
image: {{ printf "%s@%s" $image.repository $image.digest | quote }}
{{- else -}}
image: {{ printf "%s:%s" $image.repository (required (printf "%s.image.digest or %s.image.tag is required" (index . 1) (index . 1)) $image.tag) | quote }}
{{- end }}
imagePullPolicy: {{ $image.pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError # the last lines of a crash stay readable in the pod's status
resources:
  {{- toYaml (index . 2).resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/* What was released goes to both programs as it is. */}}
{{- define "fade.released" -}}
- {name: FADE_COMMIT, value: {{ .Values.commit | default "unknown" | quote }}}
- {name: FADE_VERSION, value: {{ .Values.version | default "unknown" | quote }}}
{{- end -}}

{{/* Takes the path that says whether it can serve. That it runs is another question: what waits for others is not to be restarted. */}}
{{- define "fade.probes" -}}
startupProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: {{ . }}, port: http}
  periodSeconds: 1
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health/live, port: http}
  periodSeconds: 10
  timeoutSeconds: 2
  failureThreshold: 3
{{- end -}}
