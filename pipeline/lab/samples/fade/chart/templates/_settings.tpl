{{/* The name of the node with this number, as every pod of the cluster can look it up. */}}
{{- define "fade.address" -}}
{{- $root := index . 0 -}}
{{- printf "%s-%d.%s.%s.svc.%s" (include "fade.node" $root) (index . 1) (include "fade.nodes" $root) $root.Release.Namespace $root.Values.clusterDomain -}}
{{- end -}}

{{/* What each program is told; its pods have the sum of it, so that they see a change. */}}
{{- define "fade.settings.server" -}}
{{- $nodes := list -}}
{{- range $number := until (int .Values.node.replicas) -}}
{{- $nodes = append $nodes (printf "http://%s:8080" (include "fade.address" (list $ $number))) -}}
{{- end -}}
REPRAM_NODES: {{ join "," $nodes | quote }}
FADE_PORT: "3000"
FADE_DRAIN_SECONDS: {{ .Values.server.drainSeconds | quote }}
FADE_USUAL_TTL: {{ int .Values.messages.usualTtl | quote }}
FADE_LONGEST_TTL: {{ int .Values.messages.longestTtl | quote }}
{{- end -}}

{{- define "fade.settings.node" -}}
{{- $peers := list -}}
{{- range $number := until (int .Values.node.replicas) -}}
{{- $peers = append $peers (printf "%s:9090" (include "fade.address" (list $ $number))) -}}
{{- end -}}
REPRAM_PEERS: {{ join "," $peers | quote }}
REPRAM_PORT: "8080"
REPRAM_GOSSIP_PORT: "9090"
REPRAM_DRAIN_SECONDS: {{ .Values.node.drainSeconds | quote }}
REPRAM_JOIN_SECONDS: {{ .Values.node.joinSeconds | quote }}
REPRAM_ENTRIES: {{ int .Values.node.entries | quote }}
REPRAM_SPACE: {{ int64 .Values.node.space | quote }}
REPRAM_USUAL_TTL: {{ int .Values.messages.usualTtl | quote }}
REPRAM_LONGEST_TTL: {{ int .Values.messages.longestTtl | quote }}
{{- end -}}
