{{/* Names, labels, the image, and what every pod of the chart has in common. */}}

{{- define "outboxd.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "outboxd.fullname" -}}
{{- $name := include "outboxd.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* A name with a suffix, within 63 characters: (list . "suffix"). */}}
{{- define "outboxd.suffixed" -}}
{{- $suffix := index . 1 }}
{{- printf "%s-%s" (include "outboxd.fullname" (index . 0) | trunc (int (sub 62 (len $suffix))) | trimSuffix "-") $suffix }}
{{- end }}

{{- define "outboxd.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "outboxd.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* What selects the chart's pods; never changes in the life of a release. */}}
{{- define "outboxd.selectorLabels" -}}
app.kubernetes.io/name: {{ include "outboxd.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* What selects the relays among them. */}}
{{- define "outboxd.relaySelectorLabels" -}}
{{ include "outboxd.selectorLabels" . }}
app.kubernetes.io/component: relay
{{- end }}

{{/* The labels of an object: (list . "component" EXTRA-LABELS). Ours are stronger than common and extra ones. */}}
{{- define "outboxd.labels" -}}
{{- $root := index . 0 }}
{{- $ours := include "outboxd.selectorLabels" $root | fromYaml }}
{{- $_ := set $ours "app.kubernetes.io/component" (index . 1) }}
{{- $_ := set $ours "app.kubernetes.io/part-of" "outboxd" }}
{{- $_ := set $ours "app.kubernetes.io/version" ($root.Values.image.tag | default $root.Chart.AppVersion | trunc 63 | trimAll "-_.") }}
{{- $_ := set $ours "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $extra := dict }}
{{- if gt (len .) 2 }}{{ $extra = index . 2 }}{{ end }}
{{- toYaml (merge $ours $extra $root.Values.commonLabels) }}
{{- end }}

{{/* The labels of a pod, the same but for the chart's version: a new one alone is no reason to restart. */}}
{{- define "outboxd.podLabels" -}}
{{- toYaml (omit (include "outboxd.labels" . | fromYaml) "helm.sh/chart") }}
{{- end }}

{{- define "outboxd.image" -}}
{{- $image := .Values.image }}
{{- $registry := default $image.registry (.Values.global).imageRegistry }}
{{- $name := $image.repository }}
{{- if $registry }}{{ $name = printf "%s/%s" $registry $name }}{{ end }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name ($image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* The relays that the chart will have at least: what a PodDisruptionBudget goes by. */}}
{{- define "outboxd.fewestReplicas" -}}
{{- if .Values.keda.enabled }}{{ .Values.keda.minReplicas }}
{{- else if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}
{{- else }}{{ .Values.replicaCount }}
{{- end }}
{{- end }}

{{/* The fields of a pod that all pods of the chart share; the ServiceAccount is (list . "name"), "" for the namespace's. */}}
{{- define "outboxd.pod" -}}
{{- $root := index . 0 }}
{{- with index . 1 }}
serviceAccountName: {{ . }}
{{- end }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values }}
{{- with .imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .schedulerName }}
schedulerName: {{ . }}
{{- end }}
{{- with .hostAliases }}
hostAliases: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .dnsConfig }}
dnsConfig: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{/* The head of a container of ours: (list . "name"). */}}
{{- define "outboxd.container" -}}
{{- $root := index . 0 }}
name: {{ index . 1 }}
image: {{ include "outboxd.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- with $root.Values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
