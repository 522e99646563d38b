{{- define "tidegate.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name }}{{ end }}
{{- end }}

{{/* Labels of an object of one component: (list $ "gateway") */}}
{{- define "tidegate.labels" -}}
{{- $root := index . 0 -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/part-of: tidegate
{{ include "tidegate.selector" . }}
{{- end }}

{{- define "tidegate.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Metadata of an object that is named after its component: (list $ "gateway") */}}
{{- define "tidegate.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "tidegate.name" $root }}-{{ index . 1 }}
labels:
  {{- include "tidegate.labels" . | nindent 2 }}
{{- end }}

{{/* An image of Tidegate: (list $ "worker-cpu") */}}
{{- define "tidegate.image" -}}
{{- $root := index . 0 -}}
image: {{ printf "%s/%s:%s" $root.Values.image.prefix (index . 1) ($root.Values.image.tag | default $root.Chart.AppVersion) }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
{{- end }}

{{/* The name of a Secret: the existing one, else the chart's own: (list $ existing "auth") */}}
{{- define "tidegate.secret" -}}
{{- index . 1 | default (printf "%s-%s" (include "tidegate.name" (index . 0)) (index . 2)) }}
{{- end }}

{{/* The value that the chart's Secret has already, else a new random one: (list $ "auth" "api-key") */}}
{{- define "tidegate.keep" -}}
{{- $root := index . 0 -}}
{{- $name := printf "%s-%s" (include "tidegate.name" $root) (index . 1) -}}
{{- $known := lookup "v1" "Secret" $root.Release.Namespace $name -}}
{{- if and $known (hasKey $known.data (index . 2)) }}{{ index $known.data (index . 2) | b64dec }}{{ else }}{{ randAlphaNum 40 }}{{ end }}
{{- end }}

{{/* An environment variable from a Secret: (list "TIDEGATE_API_KEY" secret key) */}}
{{- define "tidegate.fromSecret" -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 }}, key: {{ index . 2 }}}}
{{- end }}

{{/* The restricted profile, for a user of any image: (list $ 10001) */}}
{{- define "tidegate.podSecurity" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: {{ index . 1 }}
  runAsGroup: {{ index . 1 }}
  fsGroup: {{ index . 1 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tidegate.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* The common part of all pods with Tidegate's images: (list $ "gateway") */}}
{{- define "tidegate.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "tidegate.name" $root }}
{{ include "tidegate.podSecurity" (list $root 10001) }}
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the pods of a component may run. */}}
{{- define "tidegate.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Spreads replicas over different nodes where possible: (list $ "gateway") */}}
{{- define "tidegate.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tidegate.selector" . | nindent 8 }}
{{- end }}

{{- define "tidegate.ports" -}}
ports:
  - {name: http, containerPort: 8080}
  - {name: grpc, containerPort: 8081}
{{- end }}

{{/* Probes of every process: what must answer 200 for it to have started, and within how many seconds:
     (list "/livez" 60). Another part that is away must not restart it, so only workers start with /readyz. */}}
{{- define "tidegate.probes" -}}
startupProbe:
  httpGet: {path: {{ index . 0 }}, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
  failureThreshold: {{ div (index . 1) 5 }}
livenessProbe:
  httpGet: {path: /livez, port: http}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}

{{/* Variables of the processes that serve requests. */}}
{{- define "tidegate.serving" -}}
- {name: TIDEGATE_CONFIG, value: /etc/tidegate/tidegate.yaml}
- {name: TIDEGATE_LISTEN, value: "0.0.0.0:8081"}
{{- end }}

{{/* Variables that every process reads. */}}
{{- define "tidegate.environment" -}}
- {name: TIDEGATE_HTTP_LISTEN, value: "0.0.0.0:8080"}
- {name: TIDEGATE_LOG_LEVEL, value: {{ .Values.logLevel }}}
{{- if .Values.tls.existingSecret }}
- {name: TIDEGATE_TLS_CERTIFICATE, value: /etc/tidegate/tls/tls.crt}
- {name: TIDEGATE_TLS_KEY, value: /etc/tidegate/tls/tls.key}
- {name: TIDEGATE_TLS_AUTHORITY, value: /etc/tidegate/tls/ca.crt}
{{- end }}
{{- end }}

{{- define "tidegate.routers" -}}
- {name: TIDEGATE_ROUTERS, value: "{{ include "tidegate.name" . }}-router:8081"}
{{- end }}

{{- define "tidegate.storeEndpoint" -}}
{{- if .Values.objectStore.bundled.enabled }}http://{{ include "tidegate.name" . }}-minio:9000{{ else }}{{ .Values.objectStore.endpoint }}{{ end }}
{{- end }}

{{- define "tidegate.store" -}}
{{- $secret := include "tidegate.secret" (list . .Values.objectStore.existingSecret "minio") -}}
- {name: TIDEGATE_S3_ENDPOINT, value: {{ include "tidegate.storeEndpoint" . | quote }}}
- {name: TIDEGATE_S3_BUCKET, value: {{ .Values.objectStore.bucket | quote }}}
- {name: TIDEGATE_S3_REGION, value: {{ .Values.objectStore.region | quote }}}
{{ include "tidegate.fromSecret" (list "TIDEGATE_S3_ACCESS_KEY" $secret "access-key") }}
{{ include "tidegate.fromSecret" (list "TIDEGATE_S3_SECRET_KEY" $secret "secret-key") }}
{{- end }}

{{- define "tidegate.configMount" -}}
- {name: config, mountPath: /etc/tidegate/tidegate.yaml, subPath: tidegate.yaml, readOnly: true}
{{- end }}

{{- define "tidegate.configVolume" -}}
- {name: config, configMap: {name: {{ include "tidegate.name" . }}-config}}
{{- end }}

{{- define "tidegate.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.tls.existingSecret }}
- {name: tls, mountPath: /etc/tidegate/tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "tidegate.volumes" -}}
- {name: tmp, emptyDir: {}}
{{- if .Values.tls.existingSecret }}
- {name: tls, secret: {secretName: {{ .Values.tls.existingSecret }}, defaultMode: 0440}}
{{- end }}
{{- end }}

{{/* Restarts pods when their configuration changes. */}}
{{- define "tidegate.checksum" -}}
checksum/config: {{ toYaml .Values.config | sha256sum }}
{{- end }}

{{/* Values of a pool: `workers`, overridden by `workers.pools.<name>`: (list $ pool) */}}
{{- define "tidegate.workers" -}}
{{- $values := (index . 0).Values.workers -}}
{{- toYaml (mergeOverwrite (deepCopy (omit $values "pools")) (dig (index . 1).name dict $values.pools)) }}
{{- end }}

{{/* GPUs of each pod of a pool: as many as its engine needs, or more if the values say so. */}}
{{- define "tidegate.gpus" -}}
{{- $pool := index . 0 }}{{ $values := index . 1 }}{{ $engine := dig "engine" dict $pool }}
{{- $needed := int (mul (dig "tensor_parallel" 1 $engine) (dig "pipeline_parallel" 1 $engine)) }}
{{- $given := int $values.gpus }}
{{- if and $given (lt $given $needed) }}
{{- fail (printf "workers.gpus = %d: pool %s needs %d (tensor_parallel x pipeline_parallel)" $given $pool.name $needed) }}
{{- end }}
{{- max $given $needed }}
{{- end }}

{{/* A pool's name as part of object names. */}}
{{- define "tidegate.poolName" -}}
{{- . | replace "." "-" | replace "_" "-" | trunc 40 | trimSuffix "-" }}
{{- end }}
