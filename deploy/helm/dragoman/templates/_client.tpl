{{/*
SPDX-FileCopyrightText: 2026 The Dragoman Authors
SPDX-License-Identifier: Apache-2.0

What every pod with the `dragoman` command has: a home whose keys are the operator's and the users', and where the services are.
*/}}

{{/* The pod's own fields; `volumes` comes last, for others to follow. */}}
{{- define "dragoman.clientPod" -}}
{{- $name := include "dragoman.name" . -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "dragoman.podSecurity" . | nindent 2 }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - {name: tmp, emptyDir: {sizeLimit: 256Mi}}
  - name: keys
    projected:
      defaultMode: 0440
      sources:
        - secret: {name: {{ $name }}-operator}
        - secret: {name: {{ $name }}-users}
        # What `verify` and `export` hold signatures to.
        - configMap: {name: {{ $name }}-trust, items: [{key: signing.pub.pem, path: signing.pub.pem}]}
  {{- if ne .Values.tls.mode "none" }}
  # The authority alone: this pod is no service.
  - name: ca
    projected:
      defaultMode: 0440
      sources:
        - secret: {name: {{ include "dragoman.tlsSecret" (dict "root" . "service" "gateway") }}, items: [{key: ca.crt, path: ca.crt}]}
  {{- end }}
{{- end }}

{{/* The container's own fields; `volumeMounts` comes last, for others to follow. */}}
{{- define "dragoman.clientContainer" -}}
{{- $services := list -}}
{{- range list "registry" "launcher" "monitor" -}}
{{- $services = append $services (printf "%s=%s" . (include "dragoman.target" (dict "root" $ "component" .))) -}}
{{- end -}}
{{- range .Values.pools -}}
{{- $services = append $services (printf "worker=%s" (include "dragoman.target" (dict "root" $ "component" (printf "worker-%s" .name)))) -}}
{{- end -}}
image: {{ include "dragoman.image" (dict "root" $ "image" "client") | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "dragoman.containerSecurity" . | nindent 2 }}
env:
  - {name: DRAGOMAN_HOME, value: /etc/dragoman/home}
  - {name: DRAGOMAN_CACHE, value: /tmp/cache}
  {{- if ne .Values.tls.mode "none" }}
  - {name: DRAGOMAN_CA, value: /etc/dragoman/ca/ca.crt}
  {{- end }}
  - {name: DRAGOMAN_TARGET, value: {{ printf "%s.%s.svc:9000" (include "dragoman.name" .) .Release.Namespace }}}
  - {name: DRAGOMAN_SERVICES, value: {{ join "," $services | quote }}}
resources: {requests: {cpu: 50m, memory: 96Mi, ephemeral-storage: 16Mi}, limits: {memory: 512Mi, ephemeral-storage: 512Mi}}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: keys, mountPath: /etc/dragoman/home/keys, readOnly: true}
  {{- if ne .Values.tls.mode "none" }}
  - {name: ca, mountPath: /etc/dragoman/ca, readOnly: true}
  {{- end }}
{{- end }}
