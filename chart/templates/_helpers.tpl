{{- define "probe.name" -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* These never change in a release's life: a Deployment's selector is immutable. */}}
{{- define "probe.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "probe.podLabels" -}}
{{ include "probe.selector" . }}
{{- with .Values.image.tag }}
app.kubernetes.io/version: {{ . | trunc 63 | trimAll "-_." | quote }}
{{- end }}
{{- end -}}

{{/* helm.sh/chart is not among the pods' labels: a new chart version that changes nothing about them must not restart them. */}}
{{- define "probe.labels" -}}
{{ include "probe.podLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "probe.baseUrl" -}}
{{- if .Values.env.baseUrl -}}
{{- .Values.env.baseUrl -}}
{{- else if .Values.host -}}
{{- printf "%s://%s" (ternary "https" "http" .Values.ingress.tls.enabled) .Values.host -}}
{{- end -}}
{{- end -}}

{{- define "probe.image" -}}
{{- printf "%s@%s" .Values.image.repository (required "image.digest is required: an image is deployed by its digest" .Values.image.digest) -}}
{{- end -}}

{{/* The plain settings, of which the Deployment also takes a checksum. */}}
{{- define "probe.settings" -}}
{{- $settings := dict "PORT" "8000" "DRAIN_SECONDS" (.Values.drainSeconds | toString) -}}
{{- $_ := set $settings "DRAIN_LIMIT_SECONDS" (sub (sub .Values.terminationGracePeriodSeconds .Values.preStopSeconds) 1 | toString) -}}
{{- with include "probe.baseUrl" . }}{{ $_ := set $settings "IHP_BASEURL" . }}{{ end -}}
{{- merge $settings .Values.env.extra | toYaml -}}
{{- end -}}
