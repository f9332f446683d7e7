{{/* What no schema can say: values that contradict each other. Each fails with the cause, the setting and the next step. */}}

{{- define "outboxd.validations" -}}
{{- include "outboxd.validate.urls" . }}
{{- include "outboxd.validate.config" . }}
{{- include "outboxd.validate.migrations" . }}
{{- include "outboxd.validate.scaling" . }}
{{- include "outboxd.validate.monitoring" . }}
{{- include "outboxd.validate.extensions" . }}
{{- end }}

{{/* Every URL has one source, and the two that a relay cannot do without have one at all. */}}
{{- define "outboxd.validate.urls" -}}
{{- $places := dict "database" .Values.database "database.listen" .Values.database.listen "redis" .Values.redis }}
{{- range $name, $target := .Values.redis.targets }}
{{- if eq $name "default" }}
{{- fail "outboxd: redis.targets.default would be a second source for the server `default`; set redis.existingSecret or redis.url instead." }}
{{- end }}
{{- $_ := set $places (printf "redis.targets.%s" $name) $target }}
{{- end }}
{{- range $place, $from := $places }}
{{- if and $from.url ($from.existingSecret | default dict).name }}
{{- fail (printf "outboxd: %s.url and %s.existingSecret.name are both set; keep the Secret and remove the URL." $place $place) }}
{{- end }}
{{- end }}
{{- $elsewhere := or .Values.existingConfigMap .Values.extraEnvFrom }}
{{- $database := .Values.config.database | default dict }}
{{- if not (or .Values.database.url .Values.database.existingSecret.name $database.url_file $elsewhere) }}
{{- fail "outboxd: no database is named; set database.existingSecret.name to a Secret that holds its URL (or database.url to try things out, or bring DATABASE_URL through extraEnvFrom)." }}
{{- end }}
{{- $file := false }}
{{- range $name, $target := .Values.config.redis | default dict }}
{{- if $target.url_file }}{{ $file = true }}{{ end }}
{{- end }}
{{- if not (or .Values.redis.url .Values.redis.existingSecret.name .Values.redis.targets $file $elsewhere) }}
{{- fail "outboxd: no Redis server is named; set redis.existingSecret.name to a Secret that holds its URL (or redis.url to try things out, or bring REDIS_URL through extraEnvFrom)." }}
{{- end }}
{{- end }}

{{- define "outboxd.validate.config" -}}
{{- if and .Values.config .Values.existingConfigMap }}
{{- fail "outboxd: config and existingConfigMap are both set, and only one file is read; move the keys of config into the ConfigMap, or remove existingConfigMap." }}
{{- end }}
{{- range $key := list "url" "listen_url" }}
{{- if hasKey ($.Values.config.database | default dict) $key }}
{{- fail (printf "outboxd: config.database.%s would put a password into a ConfigMap; use database.existingSecret or database.listen.existingSecret." $key) }}
{{- end }}
{{- end }}
{{- range $name, $target := .Values.config.redis | default dict }}
{{- if hasKey $target "url" }}
{{- fail (printf "outboxd: config.redis.%s.url would put a password into a ConfigMap; use redis.existingSecret or redis.targets.%s.existingSecret." $name $name) }}
{{- end }}
{{- end }}
{{- range $name, $target := .Values.config.redis | default dict }}
{{- if hasKey $target "sentinel_password" }}
{{- fail (printf "outboxd: config.redis.%s.sentinel_password would put a password into a ConfigMap; use redis%s.sentinelPassword.existingSecret." $name (ternary "" (printf ".targets.%s" $name) (eq $name "default"))) }}
{{- end }}
{{- end }}
{{- range $name, $target := merge (dict "default" .Values.redis) .Values.redis.targets }}
{{- if and (($target.sentinelPassword).existingSecret).name (not (or $.Values.existingConfigMap (dig "redis" $name "sentinels" list $.Values.config))) }}
{{- fail (printf "outboxd: redis%s.sentinelPassword is set, but no sentinel is named; set config.redis.%s.sentinels to where they are (host:port), or remove the password." (ternary "" (printf ".targets.%s" $name) (eq $name "default")) $name) }}
{{- end }}
{{- end }}
{{- if hasKey (.Values.config.http | default dict) "listen" }}
{{- fail "outboxd: config.http.listen would part the probes from the port that they ask; set http.address and http.port." }}
{{- end }}
{{- $relay := .Values.config.relay | default dict }}
{{- if $relay.id }}
{{- fail "outboxd: config.relay.id gives all relays one name, and two relays must not share one; remove it (the default is made of the pod's name)." }}
{{- end }}
{{- $drain := $relay.drain_timeout | default "10s" }}
{{- if le (mul 1000 (int .Values.terminationGracePeriodSeconds)) (include "outboxd.milliseconds" $drain | int) }}
{{- fail (printf "outboxd: terminationGracePeriodSeconds is %d, not more than config.relay.drain_timeout (%s): a stopping relay would be killed while it waits for what is in flight; raise the first or lower the second." (int .Values.terminationGracePeriodSeconds) $drain) }}
{{- end }}
{{- end }}

{{- define "outboxd.validate.migrations" -}}
{{- with .Values.migrations }}
{{- if and (ne .mode "job") (ne .hooks "none") }}
{{- fail (printf "outboxd: migrations.hooks is %s, but migrations.mode is %s and only a job can be a hook; set migrations.mode to job or migrations.hooks to none." .hooks .mode) }}
{{- end }}
{{- if and (ne .hooks "none") $.Values.database.url (not .existingSecret.name) }}
{{- fail (printf "outboxd: migrations.hooks is %s, and a hook runs before the chart's own Secret exists; set database.existingSecret.name or migrations.existingSecret.name instead of database.url, or migrations.hooks to none." .hooks) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "outboxd.validate.scaling" -}}
{{- with .Values.keda }}
{{- if and .enabled $.Values.autoscaling.enabled }}
{{- fail "outboxd: keda.enabled and autoscaling.enabled are both true, and two autoscalers would fight over the Deployment; keep one." }}
{{- end }}
{{- if gt (int .minReplicas) (int .maxReplicas) }}
{{- fail "outboxd: keda.minReplicas is more than keda.maxReplicas; swap or change them." }}
{{- end }}
{{- if and .enabled (eq .trigger "prometheus") (not .prometheus.serverAddress) }}
{{- fail "outboxd: keda.trigger is prometheus, but keda.prometheus.serverAddress is empty; set it to the URL of Prometheus, or keda.trigger to postgresql." }}
{{- end }}
{{- if and .enabled (eq .trigger "prometheus") (eq (int .minReplicas) 0) }}
{{- fail "outboxd: keda.minReplicas is 0, but without a relay nobody measures outboxd_oldest_pending_age_seconds and nothing would start one again; set keda.minReplicas to 1 or more, or keda.trigger to postgresql." }}
{{- end }}
{{- if and .enabled (eq .trigger "postgresql") (not (or .postgresql.existingSecret.name $.Values.database.existingSecret.name $.Values.database.url)) }}
{{- fail "outboxd: keda.trigger is postgresql, but no Secret holds a URL for it; set keda.postgresql.existingSecret.name or database.existingSecret.name." }}
{{- end }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "outboxd: autoscaling.minReplicas is more than autoscaling.maxReplicas; swap or change them." }}
{{- end }}
{{- with .Values.podDisruptionBudget }}
{{- if and .enabled (ne (toString .minAvailable) "") (ne (toString .maxUnavailable) "") }}
{{- fail "outboxd: podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set, and Kubernetes takes one; set the other to \"\"." }}
{{- end }}
{{- end }}
{{- end }}

{{- define "outboxd.validate.monitoring" -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "outboxd: serviceMonitor.enabled and podMonitor.enabled are both true, and every sample would be counted twice; keep one." }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.service.enabled) }}
{{- fail "outboxd: serviceMonitor.enabled needs the Service, but service.enabled is false; use podMonitor.enabled instead, or enable the Service." }}
{{- end }}
{{- end }}

{{/* Names of variables and volumes: the server would take the later of two, or refuse both. */}}
{{- define "outboxd.validate.extensions" -}}
{{- $taken := dict "OUTBOXD_CONFIG" "existingConfigMap" "OUTBOXD_HTTP__LISTEN" "http.address and http.port" "OUTBOXD_RELAY__ID" "nothing: each relay names itself" "OUTBOXD_RELAY__DRAIN_TIMEOUT" "config.relay.drain_timeout" "OUTBOXD_LOG__FORMAT" "config.log.format" }}
{{- range $key := keys (.Values.config.database | default dict) }}
{{- $_ := set $taken (printf "OUTBOXD_DATABASE__%s" (upper $key)) (printf "config.database.%s" $key) }}
{{- end }}
{{- range $name, $setting := dict "DATABASE_URL" "database" "OUTBOXD_DATABASE__URL" "database" "OUTBOXD_DATABASE__LISTEN_URL" "database.listen" "REDIS_URL" "redis" "OUTBOXD_REDIS__DEFAULT__URL" "redis" }}
{{- $_ := set $taken $name (printf "%s.existingSecret" $setting) }}
{{- $_ := set $taken (printf "%s_FILE" $name) (printf "%s.existingSecret" $setting) }}
{{- end }}
{{- range $name, $target := .Values.redis.targets }}
{{- $variable := printf "OUTBOXD_REDIS__%s__URL" (upper $name) }}
{{- $_ := set $taken $variable (printf "redis.targets.%s" $name) }}
{{- $_ := set $taken (printf "%s_FILE" $variable) (printf "redis.targets.%s" $name) }}
{{- end }}
{{- range include "outboxd.urls" . | fromYamlArray }}
{{- if hasSuffix "__SENTINEL_PASSWORD" .variable }}
{{- $_ := set $taken .variable "sentinelPassword.existingSecret" }}
{{- $_ := set $taken (printf "%s_FILE" .variable) "sentinelPassword.existingSecret" }}
{{- end }}
{{- end }}
{{- $seen := dict }}
{{- range .Values.extraEnv }}
{{- if hasKey $taken .name }}
{{- fail (printf "outboxd: extraEnv sets %s, which belongs to the chart; use %s." .name (get $taken .name)) }}
{{- end }}
{{- if hasKey $seen .name }}
{{- fail (printf "outboxd: extraEnv sets %s twice; keep one." .name) }}
{{- end }}
{{- $_ := set $seen .name true }}
{{- end }}
{{- range .Values.extraVolumes }}
{{- if or (has .name (list "outboxd-config" "outboxd-secrets")) (hasPrefix "outboxd-certificates-" .name) }}
{{- fail (printf "outboxd: extraVolumes has a volume %s, a name of the chart's own; give it another name." .name) }}
{{- end }}
{{- end }}
{{- range concat .Values.extraContainers .Values.extraInitContainers }}
{{- if has .name (list "outboxd" "migrate" "doctor") }}
{{- fail (printf "outboxd: a container of extraContainers or extraInitContainers is called %s, as one of the chart's own; give it another name." .name) }}
{{- end }}
{{- end }}
{{- end }}
