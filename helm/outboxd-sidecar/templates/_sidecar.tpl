{{/*
What an application's chart includes. Each takes (dict "context" $ "values" .Values.outboxd):

  outboxd.sidecar.initContainers   items for initContainers: the native form, or nothing
  outboxd.sidecar.containers       items for containers: the classic form, or nothing
  outboxd.sidecar.volumes          items for volumes
  outboxd.sidecar.configMap        an object, if `config` is not empty
  outboxd.sidecar.annotations      annotations of the pod, so that a change of `config` restarts it
  outboxd.sidecar.container        the native form itself, one container
  outboxd.sidecar.classic          the classic form itself, one container
  outboxd.sidecar.env              its environment alone, for a container of your own
*/}}

{{- define "outboxd.sidecar.initContainers" -}}
{{- if eq (include "outboxd.sidecar.form" .) "native" -}}
- {{ include "outboxd.sidecar.container" . | trim | nindent 2 | trim }}
{{- end }}
{{- end }}

{{- define "outboxd.sidecar.containers" -}}
{{- if eq (include "outboxd.sidecar.form" .) "classic" -}}
- {{ include "outboxd.sidecar.classic" . | trim | nindent 2 | trim }}
{{- end }}
{{- end }}

{{/* native or classic. */}}
{{- define "outboxd.sidecar.form" -}}
{{- $native := semverCompare ">=1.29.0-0" .context.Capabilities.KubeVersion.Version }}
{{- if eq .values.form "auto" }}
{{- ternary "native" "classic" $native }}
{{- else }}
{{- .values.form }}
{{- end }}
{{- end }}

{{/* Starts before the application and stops after it: what the application committed by then is relayed first. */}}
{{- define "outboxd.sidecar.container" -}}
{{- if not (semverCompare ">=1.29.0-0" .context.Capabilities.KubeVersion.Version) }}
{{- fail (printf "outboxd-sidecar: a native sidecar needs Kubernetes 1.29 or later, and this is %s; set form to classic or auto (or render with --kube-version)." .context.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- include "outboxd.sidecar.body" . | trim }}
restartPolicy: Always
{{- end }}

{{/* Gets SIGTERM together with the application, so a hook holds it back. */}}
{{- define "outboxd.sidecar.classic" -}}
{{- include "outboxd.sidecar.body" . | trim }}
{{- $sleeps := semverCompare ">=1.30.0-0" .context.Capabilities.KubeVersion.Version }}
{{- $hook := .values.classic.preStop }}
{{- if eq $hook "auto" }}{{ $hook = ternary "sleep" "drain" $sleeps }}{{ end }}
{{- if and (eq $hook "sleep") (not $sleeps) }}
{{- fail (printf "outboxd-sidecar: classic.preStop is sleep, which needs Kubernetes 1.30 or later, and this is %s; set it to drain or auto." .context.Capabilities.KubeVersion.Version) }}
{{- end }}
{{- if eq $hook "sleep" }}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .values.classic.preStopSeconds }}
{{- else if eq $hook "drain" }}
lifecycle:
  preStop:
    exec:
      command:
        - {{ .values.image.binary }}
        - wait
        - --drained
        - --timeout
        - {{ .values.classic.preStopSeconds }}s
        {{- if .values.config }}
        - --config
        - /etc/outboxd/outboxd.toml
        {{- end }}
{{- end }}
{{- end }}

{{/* What both forms have. */}}
{{- define "outboxd.sidecar.body" -}}
{{- include "outboxd.sidecar.validate" . }}
{{- $image := .values.image }}
{{- $registry := default $image.registry (.context.Values.global).imageRegistry }}
{{- $repository := $image.repository }}
{{- if $registry }}{{ $repository = printf "%s/%s" $registry $repository }}{{ end }}
name: {{ .values.name }}
{{- if $image.digest }}
image: {{ printf "%s@%s" $repository $image.digest | quote }}
{{- else }}
image: {{ printf "%s:%s" $repository ($image.tag | default "0.1.0") | quote }}
{{- end }}
imagePullPolicy: {{ $image.pullPolicy }}
args:
  - run
  {{- if .values.config }}
  - --config
  - /etc/outboxd/outboxd.toml
  {{- end }}
env:
  {{- include "outboxd.sidecar.env" . | trim | nindent 2 }}
{{- with .values.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: {{ .values.http.portName }}
    containerPort: {{ .values.http.port }}
    protocol: TCP
{{- $paths := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
{{- $probes := .values.probes }}
{{- $port := .values.http.portName }}
{{- range $name := list "startup" "liveness" "readiness" }}
{{- with get $probes $name }}
{{- if .enabled }}
{{ $name }}Probe:
  httpGet:
    path: {{ get $paths $name }}
    port: {{ $port }}
  {{- toYaml (omit . "enabled") | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- with .values.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .values.config .values.extraVolumeMounts }}
volumeMounts:
  {{- if .values.config }}
  - name: outboxd-config
    mountPath: /etc/outboxd
    readOnly: true
  {{- end }}
  {{- with .values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* The URLs, a small pool, and a port that kubelet reaches. */}}
{{- define "outboxd.sidecar.env" -}}
{{- range list
      (dict "name" "OUTBOXD_DATABASE__URL" "from" .values.database.existingSecret)
      (dict "name" "OUTBOXD_DATABASE__LISTEN_URL" "from" .values.database.listen.existingSecret)
      (dict "name" "OUTBOXD_REDIS__DEFAULT__URL" "from" .values.redis.existingSecret)
      (dict "name" "OUTBOXD_REDIS__DEFAULT__SENTINEL_PASSWORD" "from" .values.redis.sentinelPassword.existingSecret) }}
{{- if .from.name }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef:
      name: {{ .from.name }}
      key: {{ .from.key }}
{{- end }}
{{- end }}
- name: OUTBOXD_DATABASE__POOL_SIZE
  value: {{ .values.poolSize | quote }}
- name: OUTBOXD_RELAY__DRAIN
  value: {{ ((.values.config).relay).drain | default "committed" }}
- name: OUTBOXD_HTTP__LISTEN
  value: {{ printf "%s:%d" .values.http.address (int .values.http.port) | quote }}
- name: OUTBOXD_LOG__FORMAT
  value: {{ ((.values.config).log).format | default "json" }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volumes that the pod needs for it. */}}
{{- define "outboxd.sidecar.volumes" -}}
{{- if .values.config -}}
- name: outboxd-config
  configMap:
    name: {{ include "outboxd.sidecar.configMapName" . }}
{{- end }}
{{- end }}

{{- define "outboxd.sidecar.configMapName" -}}
{{- printf "%s-%s" (.context.Release.Name | trunc 48 | trimSuffix "-") "outboxd-config" }}
{{- end }}

{{/* The ConfigMap, as an object of its own. */}}
{{- define "outboxd.sidecar.configMap" -}}
{{- if .values.config -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ include "outboxd.sidecar.configMapName" . }}
  namespace: {{ .context.Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ .context.Chart.Name }}
    app.kubernetes.io/instance: {{ .context.Release.Name }}
    app.kubernetes.io/component: outboxd
    app.kubernetes.io/managed-by: {{ .context.Release.Service }}
data:
  outboxd.toml: |
    {{- include "outboxd.toml" .values.config | nindent 4 }}
{{- end }}
{{- end }}

{{- define "outboxd.sidecar.annotations" -}}
{{- if .values.config -}}
checksum/outboxd: {{ include "outboxd.toml" .values.config | sha256sum }}
{{- end }}
{{- end }}
