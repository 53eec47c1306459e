{{/*
SPDX-FileCopyrightText: 2026 The Dragoman Authors
SPDX-License-Identifier: Apache-2.0

What the values leave empty and evaluation.enabled (or identity.generate) fills in. Each is a YAML object of the values' own names.
*/}}

{{/* "true" where a part is bundled: (dict "root" $ "part" "store") */}}
{{- define "dragoman.bundles" -}}
{{- if and .root.Values.evaluation.enabled (not (get .root.Values .part).url) }}true{{ end }}
{{- end }}

{{- define "dragoman.partHost" -}}
{{ include "dragoman.name" .root }}-{{ .part }}.{{ .root.Release.Namespace }}.svc
{{- end }}

{{- define "dragoman.store" -}}
{{- $store := deepCopy .Values.store -}}
{{- if include "dragoman.bundles" (dict "root" . "part" "store") -}}
{{- $_ := set $store "url" (printf "s3://dragoman?endpoint=http://%s:9000" (include "dragoman.partHost" (dict "root" . "part" "minio"))) -}}
{{- $_ := set $store "credentialsSecret" ($store.credentialsSecret | default (printf "%s-store" (include "dragoman.name" .))) -}}
{{- end -}}
{{- $_ := required "store.url is needed: s3://bucket?endpoint=https://host:port" $store.url -}}
{{- $_ := required "store.credentialsSecret is needed" $store.credentialsSecret -}}
{{- toYaml $store }}
{{- end }}

{{- define "dragoman.events" -}}
{{- $events := deepCopy .Values.events -}}
{{- if include "dragoman.bundles" (dict "root" . "part" "events") -}}
{{- $url := printf "kafka://%s:9092" (include "dragoman.partHost" (dict "root" . "part" "kafka")) -}}
{{- $events = merge (dict "url" $url "tls" false "saslMechanism" "" "caConfigMap" "" "createTopics" true "replication" 1) $events -}}
{{- $_ := set $events "tls" false -}}
{{- $_ := set $events "saslMechanism" "" -}}
{{- $_ := set $events "caConfigMap" "" -}}
{{- end -}}
{{- $_ := required "events.url is needed: kafka://host:port" $events.url -}}
{{- toYaml $events }}
{{- end }}

{{- define "dragoman.state" -}}
{{- $state := deepCopy .Values.state -}}
{{- if include "dragoman.bundles" (dict "root" . "part" "state") -}}
{{- $_ := set $state "url" (printf "postgresql://postgres@%s:5432/postgres?sslmode=disable" (include "dragoman.partHost" (dict "root" . "part" "postgres"))) -}}
{{- $_ := set $state "passwordSecret" ($state.passwordSecret | default (printf "%s-state" (include "dragoman.name" .))) -}}
{{- $_ := set $state "caConfigMap" "" -}}
{{- end -}}
{{- $_ := required "state.url is needed: postgresql://user@host:port/database" $state.url -}}
{{- $_ := required "state.passwordSecret is needed" $state.passwordSecret -}}
{{- toYaml $state }}
{{- end }}

{{/* "true" where the hook's Job makes the identities: it is asked to, and no value names one of them. */}}
{{- define "dragoman.makesIdentities" -}}
{{- $given := list .Values.identity.trustConfigMap .Values.identity.signingKeySecret -}}
{{- range .Values.identity.keySecrets }}{{ $given = append $given . }}{{ end -}}
{{- if and (or .Values.identity.generate .Values.evaluation.enabled) (not (compact $given)) }}true{{ end }}
{{- end }}

{{- define "dragoman.identity" -}}
{{- $identity := deepCopy .Values.identity -}}
{{- if include "dragoman.makesIdentities" . -}}
{{- $name := include "dragoman.name" . -}}
{{- range $service, $_ := $identity.keySecrets }}{{ $_ := set $identity.keySecrets $service (printf "%s-key-%s" $name $service) }}{{ end -}}
{{- $_ := set $identity "trustConfigMap" (printf "%s-trust" $name) -}}
{{- $_ := set $identity "signingKeySecret" (printf "%s-signing" $name) -}}
{{- $_ := set $identity "userIssuer" ($identity.userIssuer | default "dragoman-laptop") -}}
{{- end -}}
{{- toYaml $identity }}
{{- end }}

{{/* The Secrets that the hook makes beside the identities': a list of (option, name). */}}
{{- define "dragoman.madeCredentials" -}}
{{- if and (include "dragoman.bundles" (dict "root" . "part" "store")) (not .Values.store.credentialsSecret) }}
- {option: store, name: {{ include "dragoman.name" . }}-store}
{{- end }}
{{- if and (include "dragoman.bundles" (dict "root" . "part" "state")) (not .Values.state.passwordSecret) }}
- {option: state, name: {{ include "dragoman.name" . }}-state}
{{- end }}
{{- end }}

{{/* Where jobs run: in the release's own namespace, where an evaluation says nothing else. */}}
{{- define "dragoman.trainingNamespace" -}}
{{ .Values.launcher.trainingNamespace | default (ternary .Release.Namespace "" .Values.evaluation.enabled) }}
{{- end }}
