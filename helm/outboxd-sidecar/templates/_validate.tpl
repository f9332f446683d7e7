{{/* What the schema cannot say: each mistake fails with the cause, the setting and the next step. */}}

{{- define "outboxd.sidecar.validate" -}}
{{- $config := .values.config | default dict }}
{{- if not .values.extraEnvFrom }}
{{- if not (or .values.database.existingSecret.name ($config.database).url_file) }}
{{- fail "outboxd-sidecar: no database is named; set database.existingSecret.name to a Secret that holds its URL, or bring DATABASE_URL through extraEnvFrom." }}
{{- end }}
{{- if not (or .values.redis.existingSecret.name $config.redis) }}
{{- fail "outboxd-sidecar: no Redis server is named; set redis.existingSecret.name to a Secret that holds its URL, or bring REDIS_URL through extraEnvFrom." }}
{{- end }}
{{- end }}
{{- range $key := list "url" "listen_url" }}
{{- if hasKey ($config.database | default dict) $key }}
{{- fail (printf "outboxd-sidecar: config.database.%s would put a password into a ConfigMap; use database.existingSecret or database.listen.existingSecret." $key) }}
{{- end }}
{{- end }}
{{- range $name, $target := $config.redis | default dict }}
{{- if hasKey $target "url" }}
{{- fail (printf "outboxd-sidecar: config.redis.%s.url would put a password into a ConfigMap; use redis.existingSecret, or url_file, or OUTBOXD_REDIS__%s__URL out of a Secret in extraEnv." $name (upper $name)) }}
{{- end }}
{{- end }}
{{- range $name, $target := $config.redis | default dict }}
{{- if hasKey $target "sentinel_password" }}
{{- fail (printf "outboxd-sidecar: config.redis.%s.sentinel_password would put a password into a ConfigMap; use redis.sentinelPassword.existingSecret, or sentinel_password_file, or OUTBOXD_REDIS__%s__SENTINEL_PASSWORD out of a Secret in extraEnv." $name (upper $name)) }}
{{- end }}
{{- end }}
{{- if and .values.redis.sentinelPassword.existingSecret.name (not (dig "redis" "default" "sentinels" list $config)) }}
{{- fail "outboxd-sidecar: redis.sentinelPassword is set, but no sentinel is named; set config.redis.default.sentinels to where they are (host:port), or remove the password." }}
{{- end }}
{{- if hasKey ($config.database | default dict) "pool_size" }}
{{- fail "outboxd-sidecar: config.database.pool_size would not count, because the environment is stronger; set poolSize." }}
{{- end }}
{{- if hasKey ($config.http | default dict) "listen" }}
{{- fail "outboxd-sidecar: config.http.listen would part the probes from the port that they ask; set http.address and http.port." }}
{{- end }}
{{- if ($config.relay).id }}
{{- fail "outboxd-sidecar: config.relay.id gives all relays one name, and two relays must not share one; remove it (the default is made of the pod's name)." }}
{{- end }}
{{- $taken := list "OUTBOXD_DATABASE__POOL_SIZE" "OUTBOXD_RELAY__DRAIN" "OUTBOXD_HTTP__LISTEN" "OUTBOXD_LOG__FORMAT" "OUTBOXD_CONFIG" "OUTBOXD_RELAY__ID" }}
{{- range list
      (dict "from" .values.database.existingSecret "names" (list "OUTBOXD_DATABASE__URL" "OUTBOXD_DATABASE__URL_FILE" "DATABASE_URL" "DATABASE_URL_FILE"))
      (dict "from" .values.database.listen.existingSecret "names" (list "OUTBOXD_DATABASE__LISTEN_URL" "OUTBOXD_DATABASE__LISTEN_URL_FILE"))
      (dict "from" .values.redis.existingSecret "names" (list "OUTBOXD_REDIS__DEFAULT__URL" "OUTBOXD_REDIS__DEFAULT__URL_FILE" "REDIS_URL" "REDIS_URL_FILE"))
      (dict "from" .values.redis.sentinelPassword.existingSecret "names" (list "OUTBOXD_REDIS__DEFAULT__SENTINEL_PASSWORD" "OUTBOXD_REDIS__DEFAULT__SENTINEL_PASSWORD_FILE")) }}
{{- if .from.name }}{{ $taken = concat $taken .names }}{{ end }}
{{- end }}
{{- $seen := list }}
{{- range .values.extraEnv }}
{{- if has .name $taken }}
{{- fail (printf "outboxd-sidecar: extraEnv sets %s, which belongs to the chart; use the value that stands for it." .name) }}
{{- end }}
{{- if has .name $seen }}
{{- fail (printf "outboxd-sidecar: extraEnv sets %s twice; keep one." .name) }}
{{- end }}
{{- $seen = append $seen .name }}
{{- end }}
{{- end }}
