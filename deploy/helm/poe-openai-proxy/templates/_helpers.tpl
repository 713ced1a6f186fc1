{{- define "proxy.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "proxy.name" -}}
{{ .Release.Name }}-{{ .Chart.Name }}
{{- end -}}

{{- define "proxy.secret" -}}
{{ .Values.existingSecret | default (include "proxy.name" .) }}
{{- end -}}
