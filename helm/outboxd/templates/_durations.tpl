{{/* Durations as the configuration writes them: "500ms", "1h 30m", "7d". */}}

{{/* In milliseconds; what it does not know counts as nothing, because `outboxd` itself refuses it. */}}
{{- define "outboxd.milliseconds" -}}
{{- $lengths := dict "ms" 1 "msec" 1 "s" 1000 "sec" 1000 "secs" 1000 "second" 1000 "seconds" 1000 "m" 60000 "min" 60000 "mins" 60000 "minute" 60000 "minutes" 60000 "h" 3600000 "hr" 3600000 "hour" 3600000 "hours" 3600000 "d" 86400000 "day" 86400000 "days" 86400000 }}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+\\s*[A-Za-z]+" (toString .) -1 }}
{{- $number := regexFind "[0-9]+" . | atoi }}
{{- $unit := regexFind "[A-Za-z]+" . }}
{{- if hasKey $lengths $unit }}
{{- $sum = add $sum (mul $number (get $lengths $unit)) }}
{{- end }}
{{- end }}
{{- $sum }}
{{- end }}
