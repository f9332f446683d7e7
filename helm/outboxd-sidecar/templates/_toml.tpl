{{/* A tree of values as TOML. The same file stands in the charts outboxd and outboxd-sidecar. */}}

{{/*
Turns every whole number of a tree into an integer, in place. Helm reads numbers as floats, and toToml would write
`pool_size = 4.0`, which is no pool size. Keys that are null are left out: TOML has no null.
*/}}
{{- define "outboxd.toml.integers" -}}
{{- $tree := . }}
{{- range $key, $value := deepCopy $tree }}
{{- if kindIs "invalid" $value }}
{{- $_ := unset $tree $key }}
{{- else if kindIs "map" $value }}
{{- include "outboxd.toml.integers" (get $tree $key) }}
{{- else if kindIs "slice" $value }}
{{- $items := list }}
{{- range $item := $value }}
{{- $box := dict "item" $item }}
{{- include "outboxd.toml.integers" $box }}
{{- $items = append $items $box.item }}
{{- end }}
{{- $_ := set $tree $key $items }}
{{- else if or (kindIs "float64" $value) (typeIs "json.Number" $value) }}
{{- $number := toString $value | float64 }}
{{- if eq (floor $number) $number }}
{{- $_ := set $tree $key (int64 $number) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The tree as TOML. */}}
{{- define "outboxd.toml" -}}
{{- $tree := deepCopy . }}
{{- include "outboxd.toml.integers" $tree }}
{{- toToml $tree }}
{{- end }}
