{{/*
SPDX-FileCopyrightText: 2026 The Dragoman Authors
SPDX-License-Identifier: Apache-2.0

Who has a certificate, where it is, and which names it holds.
*/}}

{{/* Every service of this release that has one, and keda, which is a client only. A YAML list. */}}
{{- define "dragoman.tlsServices" -}}
{{- $services := list "gateway" "tokenizer" "registry" "worker" "launcher" "monitor" -}}
{{- if eq .Values.autoscaling "keda" }}{{ $services = concat $services (list "autoscaler" "keda") }}{{ end -}}
{{- toYaml $services }}
{{- end }}

{{/* The Secret with tls.crt, tls.key and ca.crt of a service: (dict "root" $ "service" "gateway") */}}
{{- define "dragoman.tlsSecret" -}}
{{- if eq .root.Values.tls.mode "secrets" -}}
{{ required (printf "tls.secrets.%s is needed: a Secret with tls.crt, tls.key and ca.crt" .service) (get .root.Values.tls.secrets .service) }}
{{- else -}}
{{ include "dragoman.name" .root }}-tls-{{ .service }}
{{- end -}}
{{- end }}

{{/* The DNS names of a service's certificate, a YAML list. `localhost` is for who comes by kubectl port-forward. */}}
{{- define "dragoman.tlsNames" -}}
{{- $name := include "dragoman.name" .root -}}
{{- $namespace := .root.Release.Namespace -}}
{{- $hosts := list -}}
{{- if eq .service "worker" -}}
{{- range .root.Values.pools }}{{ $hosts = concat $hosts (list (printf "%s-worker-%s" $name .name) (printf "%s-pool-%s" $name .name)) }}{{ end -}}
{{- else if ne .service "keda" -}}
{{- $hosts = append $hosts (printf "%s-%s" $name .service) -}}
{{- end -}}
{{- if eq .service "gateway" }}{{ $hosts = append $hosts $name }}{{ end -}}
{{- $names := list -}}
{{- range $hosts }}{{ $names = concat $names (list (printf "%s.%s.svc" . $namespace) (printf "%s.%s.svc.cluster.local" . $namespace)) }}{{ end -}}
{{- if eq .service "gateway" }}{{ $names = concat $names .root.Values.tls.gatewayNames }}{{ end -}}
{{- if ne .service "keda" }}{{ $names = append $names "localhost" }}{{ end -}}
{{- toYaml $names }}
{{- end }}

{{/* A service's settings. */}}
{{- define "dragoman.tlsSettings" -}}
TLS_CERT_FILE: /etc/dragoman/tls/tls.crt
TLS_KEY_FILE: /etc/dragoman/tls/tls.key
TLS_CA_FILE: /etc/dragoman/tls/ca.crt
{{- if eq .service "autoscaler" }}
# KEDA has no token of ours: here alone everybody shows a certificate.
TLS_CLIENT_CA_FILE: /etc/dragoman/tls/ca.crt
{{- with .root.Values.tls.identities }}
TLS_IDENTITIES: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- end }}
