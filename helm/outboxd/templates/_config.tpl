{{/* The relay's configuration: the file, the URLs, and the environment. */}}

{{/* `config` with what the chart decides. */}}
{{- define "outboxd.config" -}}
{{- $ours := dict "log" (dict "format" "json") }}
{{- include "outboxd.toml" (mergeOverwrite $ours (deepCopy .Values.config)) }}
{{- end }}

{{- define "outboxd.configMapName" -}}
{{- .Values.existingConfigMap | default (include "outboxd.fullname" .) }}
{{- end }}

{{/*
Every URL and password that the chart knows, as YAML: a list of
{variable, file, value, secret, key}. `value` is set where the chart's own Secret holds it.
*/}}
{{- define "outboxd.urls" -}}
{{- $own := include "outboxd.fullname" . }}
{{- $urls := list }}
{{- $known := list
      (dict "variable" "OUTBOXD_DATABASE__URL" "file" "database_url" "from" .Values.database)
      (dict "variable" "OUTBOXD_DATABASE__LISTEN_URL" "file" "listen_url" "from" .Values.database.listen)
      (dict "variable" "OUTBOXD_REDIS__DEFAULT__URL" "file" "redis_default_url" "from" .Values.redis) }}
{{- range $name, $target := .Values.redis.targets }}
{{- $known = append $known (dict "variable" (printf "OUTBOXD_REDIS__%s__URL" (upper $name)) "file" (printf "redis_%s_url" $name) "from" $target) }}
{{- end }}
{{- range $known }}
{{- $existing := .from.existingSecret | default dict }}
{{- if $existing.name }}
{{- $urls = append $urls (dict "variable" .variable "file" .file "secret" $existing.name "key" ($existing.key | default "url")) }}
{{- else if .from.url }}
{{- $urls = append $urls (dict "variable" .variable "file" .file "secret" $own "key" .file "value" .from.url) }}
{{- end }}
{{- end }}
{{- range $name, $target := merge (dict "default" .Values.redis) .Values.redis.targets }}
{{- $existing := ($target.sentinelPassword | default dict).existingSecret | default dict }}
{{- if $existing.name }}
{{- $urls = append $urls (dict "variable" (printf "OUTBOXD_REDIS__%s__SENTINEL_PASSWORD" (upper $name)) "file" (printf "redis_%s_sentinel_password" $name) "secret" $existing.name "key" ($existing.key | default "password")) }}
{{- end }}
{{- end }}
{{- toYaml $urls }}
{{- end }}

{{/* The ports of all sentinels that `config` names, as YAML; [] if it names none. */}}
{{- define "outboxd.sentinelPorts" -}}
{{- $ports := list }}
{{- range $name, $target := .Values.config.redis | default dict }}
{{- range $target.sentinels | default list }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "26379" | int) }}
{{- end }}
{{- end }}
{{- toYaml ($ports | uniq) }}
{{- end }}

{{/* The keys of the chart's own Secret, as YAML; {} if it needs none. */}}
{{- define "outboxd.ownSecret" -}}
{{- $data := dict }}
{{- range include "outboxd.urls" . | fromYamlArray }}
{{- if .value }}{{ $_ := set $data .key .value }}{{ end }}
{{- end }}
{{- toYaml $data }}
{{- end }}

{{/*
The environment by which the relay learns its URLs, and where to listen: a variable, because it is stronger than the file
and than the one that the image brings.
*/}}
{{- define "outboxd.env" -}}
- name: OUTBOXD_HTTP__LISTEN
  value: {{ printf "%s:%d" .Values.http.address (int .Values.http.port) | quote }}
{{- $files := .Values.secretsAsFiles }}
{{- range include "outboxd.urls" . | fromYamlArray }}
{{- if $files }}
- name: {{ .variable }}_FILE
  value: /run/secrets/outboxd/{{ .file }}
{{- else }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .secret }}
      key: {{ .key }}
{{- end }}
{{- end }}
{{- end }}

{{/* `env` and `envFrom` of a container: (list . OWN-ENVIRONMENT). */}}
{{- define "outboxd.environment" -}}
{{- $extra := (index . 0).Values.extraEnv }}
{{- with concat (index . 1 | fromYamlArray) $extra }}
env: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (index . 0).Values.extraEnvFrom }}
envFrom: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
The environment of a migration. It stands alone, without the ConfigMap, because a hook runs before the chart's own
objects exist: the URL, and `config.database` as variables.
*/}}
{{- define "outboxd.migrationEnv" -}}
{{- $url := dict }}
{{- range include "outboxd.urls" . | fromYamlArray }}
{{- if eq .variable "OUTBOXD_DATABASE__URL" }}{{ $url = . }}{{ end }}
{{- end }}
{{- with .Values.migrations.existingSecret }}
{{- if .name }}{{ $url = dict "secret" .name "key" .key }}{{ end }}
{{- end }}
{{- with $url.secret }}
- name: OUTBOXD_DATABASE__URL
  valueFrom:
    secretKeyRef:
      name: {{ . }}
      key: {{ $url.key }}
{{- end }}
- name: OUTBOXD_LOG__FORMAT
  value: {{ ((.Values.config).log).format | default "json" }}
{{- if not .Values.existingConfigMap }}
{{- $database := deepCopy (.Values.config.database | default dict) }}
{{- include "outboxd.toml.integers" $database }}
{{- range $key, $value := $database }}
{{- if not (and (eq $key "url_file") $url.secret) }}
- name: OUTBOXD_DATABASE__{{ upper $key }}
  value: {{ toString $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The volumes: (list . true) with the configuration and the URLs, (list . false) without. */}}
{{- define "outboxd.volumes" -}}
{{- $root := index . 0 }}
{{- if index . 1 }}
- name: outboxd-config
  configMap:
    name: {{ include "outboxd.configMapName" $root }}
{{- $urls := include "outboxd.urls" $root | fromYamlArray }}
{{- if and $root.Values.secretsAsFiles $urls }}
- name: outboxd-secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range $urls }}
      - secret:
          name: {{ .secret }}
          items:
            - key: {{ .key }}
              path: {{ .file }}
    {{- end }}
{{- end }}
{{- end }}
{{- range $root.Values.certificates }}
- name: outboxd-certificates-{{ .name }}
  {{- if .secretName }}
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
  {{- else }}
  configMap:
    name: {{ .configMapName }}
  {{- end }}
{{- end }}
{{- with $root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The mounts of those volumes. */}}
{{- define "outboxd.volumeMounts" -}}
{{- $root := index . 0 }}
{{- if index . 1 }}
- name: outboxd-config
  mountPath: /etc/outboxd
  readOnly: true
{{- if and $root.Values.secretsAsFiles (include "outboxd.urls" $root | fromYamlArray) }}
- name: outboxd-secrets
  mountPath: /run/secrets/outboxd
  readOnly: true
{{- end }}
{{- end }}
{{- range $root.Values.certificates }}
- name: outboxd-certificates-{{ .name }}
  mountPath: /etc/ssl/outboxd/{{ .name }}
  readOnly: true
{{- end }}
{{- with $root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
