{{/* The container that migrates, in an init container or in a Job. */}}

{{- define "outboxd.migration" -}}
{{- $root := . }}
{{- include "outboxd.container" (list $root "migrate") }}
args:
  - migrate
  - up
{{- if $root.Values.existingConfigMap }}
  - --config
  - /etc/outboxd/outboxd.toml
{{- end }}
{{- include "outboxd.environment" (list $root (include "outboxd.migrationEnv" $root)) }}
{{- with $root.Values.migrations.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "outboxd.volumeMounts" (list $root (not (empty $root.Values.existingConfigMap))) | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}
