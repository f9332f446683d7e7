{{/*
Values that were renamed, and names by which other charts call what is here: each fails with its new name instead of
being unknown. A value that is renamed is added to this table and keeps its place in values.schema.json, marked
`"deprecated": true`, until the next major version.
*/}}
{{- define "outboxd.deprecations" -}}
{{- $renamed := dict
      "env" "extraEnv"
      "extraEnvs" "extraEnv"
      "extraEnvVars" "extraEnv"
      "envFrom" "extraEnvFrom"
      "extraManifests" "extraObjects"
      "extraDeploy" "extraObjects"
      "initContainers" "extraInitContainers"
      "sidecars" "extraContainers"
      "replicas" "replicaCount"
      "postgres" "database"
      "pdb" "podDisruptionBudget"
      "strategy" "updateStrategy" }}
{{- range $old, $new := $renamed }}
{{- if hasKey $.Values $old }}
{{- fail (printf "outboxd: the value %s is called %s in this chart; rename it." $old $new) }}
{{- end }}
{{- end }}
{{- end }}
