{{/* A text as a DNS label: (list text 52). What is changed or cut gets a hash, so that two texts stay two labels. */}}
{{- define "tidegate.dnsLabel" -}}
{{- $text := index . 0 }}{{ $limit := index . 1 -}}
{{- $label := $text | replace "." "-" | replace "_" "-" | trimSuffix "-" -}}
{{- if and (eq $label $text) (le (len $label) $limit) -}}
{{ $label }}
{{- else -}}
{{ printf "%s-%s" ($label | trunc (int (sub $limit 9)) | trimSuffix "-") (sha256sum $text | trunc 8) }}
{{- end }}
{{- end }}

{{/* The beginning of all names. A Service's name begins with a letter. */}}
{{- define "tidegate.name" -}}
{{- $release := include "tidegate.dnsLabel" (list .Release.Name 53) -}}
{{- if not (regexMatch "^[a-z]" $release) -}}
{{ printf "%s-%s" .Chart.Name $release }}
{{- else if contains .Chart.Name $release -}}
{{ $release }}
{{- else -}}
{{ printf "%s-%s" $release .Chart.Name }}
{{- end }}
{{- end }}

{{/* The name of an object: (list $ "gateway"). At most 52 characters: a StatefulSet's pods carry it with a hash. */}}
{{- define "tidegate.object" -}}
{{- include "tidegate.dnsLabel" (list (printf "%s-%s" (include "tidegate.name" (index . 0)) (index . 1)) 52) }}
{{- end }}

{{/* The name of a pool's objects: (list $ pool). A group's number becomes part of a StatefulSet's name, which has at most
     52 characters. */}}
{{- define "tidegate.poolObject" -}}
{{- $name := printf "%s-worker-%s" (include "tidegate.name" (index . 0)) (include "tidegate.dnsLabel" (list (index . 1).name 40)) -}}
{{- include "tidegate.dnsLabel" (list $name (ternary 46 52 (gt (include "tidegate.nodes" (index . 1) | int) 1))) }}
{{- end }}

{{/* A pool's name as the value of a label, which ends with a letter or digit. */}}
{{- define "tidegate.poolLabel" -}}
{{- if regexMatch "[a-z0-9]$" . }}{{ . }}{{ else }}{{ include "tidegate.dnsLabel" (list . 63) }}{{ end }}
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
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of a pod: (list $ "gateway"). Versions are not among them: a new chart must not restart a pod that it does not
     change. */}}
{{- define "tidegate.podLabels" -}}
app.kubernetes.io/part-of: tidegate
{{ include "tidegate.selector" . }}
{{- end }}

{{/* Metadata of an object that is named after its component: (list $ "gateway") */}}
{{- define "tidegate.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "tidegate.object" (list $root (index . 1)) }}
labels:
  {{- include "tidegate.labels" . | nindent 2 }}
{{- end }}

{{/* An image of Tidegate, by tag or by digest: (list $ "worker-cpu") */}}
{{- define "tidegate.image" -}}
{{- $root := index . 0 }}{{ $image := $root.Values.image }}{{ $digest := dig (index . 1) "" $image.digests -}}
{{- $version := ternary (printf ":%s" ($image.tag | default $root.Chart.AppVersion)) (printf "@%s" $digest) (empty $digest) -}}
image: {{ printf "%s/%s%s" $image.prefix (index . 1) $version | quote }}
imagePullPolicy: {{ $image.pullPolicy }}
{{- end }}

{{/* The name of a Secret: the existing one, else the chart's own: (list $ existing "auth") */}}
{{- define "tidegate.secret" -}}
{{- index . 1 | default (include "tidegate.object" (list (index . 0) (index . 2))) }}
{{- end }}

{{/* An environment variable from a Secret: (list "TIDEGATE_API_KEY" secret key) */}}
{{- define "tidegate.fromSecret" -}}
- name: {{ index . 0 }}
  valueFrom: {secretKeyRef: {name: {{ index . 1 | quote }}, key: {{ index . 2 }}}}
{{- end }}

{{/* The restricted profile, for a user of any image: (list $ 10001) */}}
{{- define "tidegate.podSecurity" -}}
{{- with (index . 0).Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
enableServiceLinks: false
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

{{/* The service account of Tidegate's pods: the chart's, or one that exists. */}}
{{- define "tidegate.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "tidegate.name" .) }}
{{- end }}

{{/* The common part of all pods with Tidegate's images: (list $ "gateway") */}}
{{- define "tidegate.pod" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "tidegate.serviceAccount" $root }}
{{ include "tidegate.podSecurity" (list $root 10001) }}
{{- end }}

{{/* Metadata of a component's pods: (list $ "gateway" values checksum) */}}
{{- define "tidegate.podMetadata" -}}
{{- $values := index . 2 -}}
labels:
  {{- include "tidegate.podLabels" (list (index . 0) (index . 1)) | nindent 2 }}
  {{- with $values.podLabels }}{{ toYaml . | nindent 2 }}{{ end }}
{{- $annotations := merge (index . 3 | fromYaml) ($values.podAnnotations | default dict) }}
{{- if $annotations }}
annotations: {{- toYaml $annotations | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where and how the pods of a component run. */}}
{{- define "tidegate.scheduling" -}}
{{- with .priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
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

{{/* Spreads replicas over different nodes where possible, or as the values say: (list $ "gateway" values) */}}
{{- define "tidegate.spread" -}}
{{- with (index . 2).topologySpreadConstraints }}
topologySpreadConstraints: {{- toYaml . | nindent 2 }}
{{- else }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "tidegate.selector" . | nindent 8 }}
{{- end }}
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

{{/* The Secret of the processes' certificate; empty for plain text. */}}
{{- define "tidegate.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "tidegate.object" (list . "tls") }}{{ else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{/* The name in that certificate; empty where peers are checked for their addresses. */}}
{{- define "tidegate.tlsName" -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.name) -}}
{{ include "tidegate.name" . }}.{{ .Release.Namespace }}.internal
{{- else }}{{ .Values.tls.name }}{{ end }}
{{- end }}

{{/* Variables that every process reads. */}}
{{- define "tidegate.environment" -}}
- {name: TIDEGATE_HTTP_LISTEN, value: "0.0.0.0:8080"}
- {name: TIDEGATE_LOG_LEVEL, value: {{ .Values.logLevel }}}
{{- if include "tidegate.tlsSecret" . }}
- {name: TIDEGATE_TLS_CERTIFICATE, value: /etc/tidegate/tls/tls.crt}
- {name: TIDEGATE_TLS_KEY, value: /etc/tidegate/tls/tls.key}
- {name: TIDEGATE_TLS_AUTHORITY, value: /etc/tidegate/tls/ca.crt}
{{- with include "tidegate.tlsName" . }}
- {name: TIDEGATE_TLS_NAME, value: {{ . | quote }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "tidegate.routers" -}}
- {name: TIDEGATE_ROUTERS, value: "{{ include "tidegate.object" (list . "router") }}:8081"}
{{- end }}

{{/* A claim's storage: its size and, if the values name one, its class: (list $ "50Gi") */}}
{{- define "tidegate.storage" -}}
accessModes: [ReadWriteOnce]
{{- with (index . 0).Values.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources: {requests: {storage: {{ index . 1 }}}}
{{- end }}

{{- define "tidegate.storeEndpoint" -}}
{{- with .Values.objectStore -}}
{{ ternary (printf "http://%s:9000" (include "tidegate.object" (list $ .bundled.kind))) .endpoint .bundled.enabled }}
{{- end }}
{{- end }}

{{/* Accounts in a bundled object store. docker/s3/policies says what each may do. */}}
{{- define "tidegate.storeAccounts" -}}
[gateway, worker, trainer, backup, operator]
{{- end }}

{{/* How a process reaches the object store: (list $ account). A server that is not bundled has one key for all. */}}
{{- define "tidegate.store" -}}
{{- $root := index . 0 }}{{ $account := index . 1 }}{{ $store := $root.Values.objectStore -}}
- {name: TIDEGATE_S3_ENDPOINT, value: {{ include "tidegate.storeEndpoint" $root | quote }}}
- {name: TIDEGATE_S3_BUCKET, value: {{ $store.bucket | quote }}}
- {name: TIDEGATE_S3_REGION, value: {{ $store.region | quote }}}
{{- if $store.bundled.enabled }}
- {name: TIDEGATE_S3_ACCESS_KEY, value: {{ $account }}}
{{ include "tidegate.fromSecret" (list "TIDEGATE_S3_SECRET_KEY" (include "tidegate.object" (list $root $store.bundled.kind)) (printf "s3-%s" $account)) }}
{{- else }}
{{ include "tidegate.fromSecret" (list "TIDEGATE_S3_ACCESS_KEY" $store.existingSecret "access-key") }}
{{ include "tidegate.fromSecret" (list "TIDEGATE_S3_SECRET_KEY" $store.existingSecret "secret-key") }}
{{- end }}
{{- end }}

{{- define "tidegate.configMount" -}}
- {name: config, mountPath: /etc/tidegate/tidegate.yaml, subPath: tidegate.yaml, readOnly: true}
{{- end }}

{{- define "tidegate.configVolume" -}}
- {name: config, configMap: {name: {{ include "tidegate.object" (list . "config") }}}}
{{- end }}

{{- define "tidegate.mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if include "tidegate.tlsSecret" . }}
- {name: tls, mountPath: /etc/tidegate/tls, readOnly: true}
{{- end }}
{{- end }}

{{- define "tidegate.volumes" -}}
- {name: tmp, emptyDir: {}}
{{- with include "tidegate.tlsSecret" . }}
- {name: tls, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- end }}

{{/* tidegate.yaml without the numbers of workers: they are the Deployments' replicas, and no process reads them. */}}
{{- define "tidegate.config" -}}
{{- $pools := list }}
{{- range $pool := .Values.config.pools }}
{{- $scaling := (include "tidegate.workers" (list $ $pool) | fromYaml).autoscaling }}
{{- $zero := and $scaling.enabled (eq (int $scaling.minReplicas) 0) }}
{{- $pools = append $pools (merge (ternary (dict "scales_from_zero" true) dict $zero) (omit $pool "workers")) }}
{{- end }}
{{- toYaml (merge (dict "pools" $pools) (omit .Values.config "pools")) }}
{{- end }}

{{/* Restarts a component's pods when something changes that it reads: (list "gateway" config). */}}
{{- define "tidegate.checksum" -}}
{{- $unread := dict "gateway" (list "classes") "router" (list "prices" "strict_requests" "prefix_cache" "cors_origins") }}
{{- $config := index . 1 }}
{{- range index $unread (index . 0) }}{{ $config = omit $config . }}{{ end }}
checksum/config: {{ toYaml $config | sha256sum }}
{{- end }}

{{/* Restarts the workers of a pool when something changes that they read. */}}
{{- define "tidegate.poolChecksum" -}}
checksum/config: {{ pick . "name" "model" "engine" "adapters" | toYaml | sha256sum }}
{{- end }}

{{/* What the number of a pool's workers follows: {name: {query, metric, labels, target, average}}: (list $ pool values) */}}
{{- define "tidegate.scalingMetrics" -}}
{{- $root := index . 0 }}{{ $pool := dict "pool" (index . 1).name }}{{ $scaling := (index . 2).autoscaling }}
{{- /* Where the Prometheus operator scrapes, a pool of the same name in another namespace is told apart. */}}
{{- if $root.Values.monitoring.serviceMonitor.enabled }}{{ $_ := set $pool "namespace" $root.Release.Namespace }}{{ end }}
{{- $metrics := dict "desired" (dict "metric" "tidegate_router_desired_workers" "labels" $pool "target" "1" "average" true) }}
{{- range $class, $seconds := $scaling.maxWaitSeconds }}
{{- $labels := merge (dict "service_class" $class) $pool }}
{{- $_ := set $metrics (printf "wait-%s" $class) (dict "metric" "tidegate_router_expected_wait_seconds" "labels" $labels "target" (toString $seconds)) }}
{{- end }}
{{- if $scaling.maxKvUse }}
{{- $_ := set $metrics "kv-use" (dict "metric" "tidegate_router_kv_use_ratio" "labels" $pool "target" (toString $scaling.maxKvUse)) }}
{{- end }}
{{- range $name, $metric := $metrics }}
{{- $selectors := list }}
{{- range $label, $value := $metric.labels }}{{ $selectors = append $selectors (printf "%s=%q" $label $value) }}{{ end }}
{{- /* All routers tell the same. */}}
{{- $_ := set $metric "query" (printf "max(%s{%s})" $metric.metric ($selectors | sortAlpha | join ", ")) }}
{{- end }}
{{- toYaml $metrics }}
{{- end }}

{{/* GPUs of each pod of a pool: as many as its engine needs on each of its nodes, or more if the values say so. */}}
{{- define "tidegate.gpus" -}}
{{- $pool := index . 0 }}{{ $values := index . 1 }}{{ $engine := dig "engine" dict $pool }}
{{- $needed := int (div (mul (dig "tensor_parallel" 1 $engine) (dig "pipeline_parallel" 1 $engine)) (include "tidegate.nodes" $pool)) }}
{{- $given := int $values.gpus }}
{{- if and $given (lt $given $needed) }}
{{- fail (printf "workers.gpus = %d: pool %s needs %d on each node (tensor_parallel x pipeline_parallel / nodes)" $given $pool.name $needed) }}
{{- end }}
{{- max $given $needed }}
{{- end }}

{{/* A block of addresses without some of them: (list "0.0.0.0/0" addresses) */}}
{{- define "tidegate.allBut" -}}
cidr: {{ index . 0 | quote }}
{{- with index . 1 }}
except: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What the schema of the values cannot say, refused with key and value. */}}
{{- define "tidegate.check" -}}
{{- $pods := dict "gateway.autoscaling" .Values.gateway.autoscaling "workers.autoscaling" .Values.workers.autoscaling }}
{{- range $pool := .Values.config.pools }}
{{- if regexMatch "://|/" $pool.model }}
{{- fail (printf "config.pools: pool %s: model %s is no registry reference (model, model@alias or model@version): import it with `tidegate models import`, then name it as the registry does" $pool.name $pool.model) }}
{{- end }}
{{- $nodes := include "tidegate.nodes" $pool | int }}{{ $engine := dig "engine" dict $pool }}
{{- $ranks := int (mul (dig "tensor_parallel" 1 $engine) (dig "pipeline_parallel" 1 $engine)) }}
{{- if and (ne (dig "kind" "" $engine) "simulated") (mod $ranks $nodes) }}
{{- fail (printf "config.pools: pool %s: engine.nodes = %d: each node has the same number of GPUs, and tensor_parallel x pipeline_parallel = %d" $pool.name $nodes $ranks) }}
{{- end }}
{{- if and (gt $nodes 1) $pool.adapters }}
{{- fail (printf "config.pools: pool %s: adapters and engine.nodes = %d: workers of several nodes serve no adapters" $pool.name $nodes) }}
{{- end }}
{{- $_ := set $pods (printf "workers.pools.%s.autoscaling" $pool.name) (include "tidegate.workers" (list $ $pool) | fromYaml).autoscaling }}
{{- end }}
{{- range $key, $scaling := $pods }}
{{- if and $scaling.enabled (eq (dig "by" "" $scaling) "hpa") (eq (int $scaling.minReplicas) 0) }}
{{- fail (printf "%s: minReplicas = 0 needs by: keda, because an HPA keeps one pod" $key) }}
{{- end }}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- fail (printf "%s: minReplicas = %d is more than maxReplicas = %d" $key (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- end }}
{{- end }}
{{- if and .Values.redis.passwordFile (not .Values.redis.existingSecret) }}
{{- fail "redis.passwordFile = true needs redis.existingSecret: the bundled Redis has its password in the URL" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled .Values.tls.existingSecret }}
{{- fail (printf "tls: existingSecret = %s and certManager.enabled = true: take one of them" .Values.tls.existingSecret) }}
{{- end }}
{{- $names := list }}
{{- range .Values.config.pools }}{{ $names = append $names .name }}{{ end }}
{{- range $name, $_ := .Values.workers.pools }}
{{- if not (has $name $names) }}
{{- fail (printf "workers.pools.%s: config.pools has no pool of this name, but %s" $name (join ", " $names)) }}
{{- end }}
{{- end }}
{{- end }}
