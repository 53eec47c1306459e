{{/*
SPDX-FileCopyrightText: 2026 The Dragoman Authors
SPDX-License-Identifier: Apache-2.0
*/}}

{{- define "dragoman.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What a pod is chosen by; (dict "root" $ "component" "gateway") */}}
{{- define "dragoman.selector" -}}
app.kubernetes.io/name: dragoman
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "dragoman.labels" -}}
{{ include "dragoman.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "dragoman.image" -}}
{{- $image := .root.Values.image -}}
{{- with get $image.digests .image -}}
{{ printf "%s-%s@%s" $image.repository $.image . }}
{{- else -}}
{{ printf "%s-%s:%s" $image.repository .image ($image.tag | default .root.Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* What PodSecurity "restricted" asks for, and a root file system that nobody writes to. */}}
{{- define "dragoman.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "dragoman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The event log, as the variables of a service that writes or reads it. */}}
{{- define "dragoman.eventSettings" -}}
{{- $events := include "dragoman.events" . | fromYaml -}}
EVENTS_URL: {{ $events.url | quote }}
KAFKA_TLS: {{ $events.tls | quote }}
{{- if $events.caConfigMap }}
KAFKA_CA_FILE: /etc/dragoman/events-ca/ca.pem
{{- end }}
{{- if $events.saslMechanism }}
KAFKA_SASL_MECHANISM: {{ $events.saslMechanism }}
KAFKA_CREDENTIALS_FILE: /etc/dragoman/events/credentials
{{- end }}
KAFKA_CREATE_TOPICS: {{ $events.createTopics | quote }}
KAFKA_REPLICATION: {{ $events.replication | quote }}
{{- with $events.prefix }}
KAFKA_PREFIX: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The files that it needs for that: a list of (secret or configMap, name, folder). */}}
{{- define "dragoman.eventFiles" -}}
{{- $events := include "dragoman.events" . | fromYaml -}}
{{- if $events.saslMechanism }}
- {folder: events, secret: {{ required "events.credentialsSecret is needed with events.saslMechanism" $events.credentialsSecret | quote }}}
{{- end }}
{{- with $events.caConfigMap }}
- {folder: events-ca, configMap: {{ . | quote }}}
{{- end }}
{{- end }}

{{- define "dragoman.target" -}}
{{ include "dragoman.name" .root }}-{{ .component }}.{{ .root.Release.Namespace }}.svc:9000
{{- end }}

{{/*
One service: ServiceAccount, headless Service, Deployment or StatefulSet, PodDisruptionBudget.

root, component (gateway, worker-<pool>), service (gateway, worker), image, replicas, values (its settings, resources),
settings (name without prefix -> text), files (folder, secret or configMap), claim (name, size, storageClass) or folders
(name, size), gpu, nodeSelector, tolerations, token (whether its pods get a token), http (whether it has an HTTP port)
*/}}
{{- define "dragoman.workload" -}}
{{- $name := printf "%s-%s" (include "dragoman.name" .root) .component -}}
{{- $prefix := printf "DRAGOMAN_%s_" (upper .service) -}}
{{- $deadline := int .root.Values.deadlineSeconds -}}
{{- $pause := .pause | default 5 -}}
{{- $identity := include "dragoman.identity" .root | fromYaml -}}
{{- $secret := required (printf "identity.keySecrets.%s is needed: a Secret with the key %s.pem" .service .service) (get $identity.keySecrets .service) -}}
{{- $trust := required "identity.trustConfigMap is needed" $identity.trustConfigMap -}}
{{- $files := concat (list (dict "folder" "key" "secret" $secret) (dict "folder" "trust" "configMap" $trust)) (.files | default list) -}}
{{- $base := dict
      "LISTEN" "0.0.0.0:9000"
      "KEY_FILE" (printf "/etc/dragoman/key/%s.pem" .service)
      "TRUST_FILE" "/etc/dragoman/trust/trust.json"
      "DEFAULT_DEADLINE_MS" (printf "%d" (mul $deadline 1000))
      "DRAIN_GRACE_MS" (printf "%d" (mul (add $deadline 5) 1000)) -}}
{{- with .root.Values.telemetry.otlpEndpoint }}{{ $_ := set $base "OTLP_ENDPOINT" . }}{{ end -}}
{{- if .root.Values.metrics.enabled }}{{ $_ := set $base "METRICS_LISTEN" "0.0.0.0:9464" }}{{ end -}}
{{- /* The kubelet's gRPC probes speak no TLS. */}}
{{- $probed := "9000" -}}
{{- if ne .root.Values.tls.mode "none" -}}
{{- $probed = "9001" -}}
{{- $base = merge $base (dict "HEALTH_LISTEN" "0.0.0.0:9001") (include "dragoman.tlsSettings" . | fromYaml) -}}
{{- $files = append $files (dict "folder" "tls" "secret" (include "dragoman.tlsSecret" .)) -}}
{{- end -}}
{{- $settings := merge (dict) $base .settings -}}
{{- range $key, $_ := .values.settings }}
{{- if hasKey $settings $key }}{{ fail (printf "%s.settings.%s: the chart sets it" $.service $key) }}{{ end }}
{{- end -}}
{{- $settings = merge $settings .values.settings -}}
{{- $claim := .claim | default dict -}}
{{- $folders := .folders | default list -}}
{{- if $claim -}}
{{- $_ := set $claim "storageClass" ($claim.storageClass | default .root.Values.storageClass) -}}
{{- if eq $claim.storageClass "-" -}}
{{- $folders = append $folders $claim -}}
{{- $claim = dict -}}
{{- end -}}
{{- end -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ $name }}
  labels: {{- include "dragoman.labels" . | nindent 4 }}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels: {{- include "dragoman.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector: {{- include "dragoman.selector" . | nindent 4 }}
  ports:
    - {name: grpc, port: 9000, targetPort: grpc, appProtocol: grpc}
    {{- if .http }}
    - {name: http, port: 8080, targetPort: http, appProtocol: http}
    {{- end }}
    {{- if .root.Values.metrics.enabled }}
    - {name: metrics, port: 9464, targetPort: metrics, appProtocol: http}
    {{- end }}
---
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (hasKey . "claim") }}
metadata:
  name: {{ $name }}
  labels: {{- include "dragoman.labels" . | nindent 4 }}
spec:
  {{- if hasKey . "replicas" }}
  replicas: {{ .replicas }}
  {{- end }}
  selector:
    matchLabels: {{- include "dragoman.selector" . | nindent 6 }}
  # As long as names of pods are kept by DNS caches: the pod before goes only when callers may have found this one.
  minReadySeconds: {{ .root.Values.minReadySeconds }}
  {{- if hasKey . "claim" }}
  serviceName: {{ $name }}
  podManagementPolicy: Parallel
  {{- else }}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  {{- end }}
  template:
    metadata:
      labels: {{- include "dragoman.labels" . | nindent 8 }}
    spec:
      serviceAccountName: {{ $name }}
      automountServiceAccountToken: {{ .token | default false }}
      # Kubernetes would say DRAGOMAN_REGISTRY_PORT=tcp://... to every pod, and a service refuses settings that it does not have.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add $deadline 15 $pause }}
      {{- with .root.Values.priorityClass }}
      priorityClassName: {{ . | quote }}
      {{- end }}
      securityContext: {{- include "dragoman.podSecurity" .root | nindent 8 }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .nodeSelector }}
      nodeSelector: {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .tolerations }}
      tolerations: {{- toYaml . | nindent 8 }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{- include "dragoman.selector" . | nindent 14 }}
      containers:
        - name: {{ .service }}
          image: {{ include "dragoman.image" . | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          securityContext: {{- include "dragoman.containerSecurity" .root | nindent 12 }}
          ports:
            - {name: grpc, containerPort: 9000}
            {{- if .http }}
            - {name: http, containerPort: 8080}
            {{- end }}
            {{- if ne $probed "9000" }}
            - {name: health, containerPort: 9001}
            {{- end }}
            {{- if .root.Values.metrics.enabled }}
            - {name: metrics, containerPort: 9464}
            {{- end }}
          env:
            {{- range $key, $value := $settings }}
            - {name: {{ $prefix }}{{ $key }}, value: {{ $value | quote }}}
            {{- end }}
          resources:
            {{- $resources := deepCopy .resources }}
            {{- if .gpu }}
            {{- $_ := set $resources "limits" (merge (dict "nvidia.com/gpu" (int .gpu)) ($resources.limits | default dict)) }}
            {{- end }}
            {{- toYaml $resources | nindent 12 }}
          # 5 minutes to read every alias, and to load and warm what they point at.
          startupProbe: {grpc: {port: {{ $probed }}}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 150}
          readinessProbe: {grpc: {port: {{ $probed }}}, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2}
          livenessProbe: {grpc: {port: {{ $probed }}}, periodSeconds: 10, timeoutSeconds: 10, failureThreshold: 6}
          # Callers leave before the pod refuses: the pause, then the drain (the deadline + 5 s), then the rest.
          lifecycle: {preStop: {sleep: {seconds: {{ $pause }}}}}
          volumeMounts:
            - {name: tmp, mountPath: /tmp}
            {{- range $files }}
            - {name: {{ .folder }}, mountPath: /etc/dragoman/{{ .folder }}, readOnly: true}
            {{- end }}
            {{- with $claim }}
            - {name: {{ .name }}, mountPath: /var/lib/dragoman/{{ .name }}}
            {{- end }}
            {{- range $folders }}
            - {name: {{ .name }}, mountPath: /var/lib/dragoman/{{ .name }}}
            {{- end }}
      volumes:
        - {name: tmp, emptyDir: {sizeLimit: 256Mi}}
        {{- range $files }}
        {{- if .secret }}
        - {name: {{ .folder }}, secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}}
        {{- else }}
        - {name: {{ .folder }}, configMap: {name: {{ .configMap | quote }}}}
        {{- end }}
        {{- end }}
        {{- range $folders }}
        - {name: {{ .name }}, emptyDir: {sizeLimit: {{ .size | quote }}}}
        {{- end }}
  {{- with $claim }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: {{ .name }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .storageClass }}
        storageClassName: {{ . | quote }}
        {{- end }}
        resources:
          requests:
            storage: {{ .size | quote }}
  {{- end }}
{{- if gt (int (ternary .ceiling .replicas (hasKey . "ceiling"))) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ $name }}
  labels: {{- include "dragoman.labels" . | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels: {{- include "dragoman.selector" . | nindent 6 }}
{{- end }}
{{- end }}
