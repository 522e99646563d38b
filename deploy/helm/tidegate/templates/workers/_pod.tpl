{{/* GB of a pool's model: what the values say of the pool, else of the model that the chart imports, else 30. */}}
{{- define "tidegate.modelGb" -}}
{{- $root := index . 0 }}{{ $pool := index . 1 }}{{ $values := index . 2 }}{{ $gb := int $values.modelGb -}}
{{- range $root.Values.models }}
{{- if and (not $gb) (eq .name (splitList "@" $pool.model | first)) }}{{ $gb = dig "sizeGb" 0 . | int }}{{ end }}
{{- end -}}
{{- $gb | default 30 }}
{{- end }}

{{/* Values of a pool: `workers`, overridden by `workers.pools.<name>`; what they leave open follows the model's size:
     (list $ pool) */}}
{{- define "tidegate.workers" -}}
{{- $root := index . 0 }}{{ $pool := index . 1 }}{{ $all := $root.Values.workers -}}
{{- $values := mergeOverwrite (deepCopy (omit $all "pools")) (dig $pool.name dict $all.pools) -}}
{{- $gb := include "tidegate.modelGb" (list $root $pool $values) | int -}}
{{- /* 50 MB/s from the registry to the disk, and 20 minutes to load and to compile. */ -}}
{{- $_ := set $values "startSeconds" ($values.startSeconds | default (add 1200 (mul 20 $gb)) | int) -}}
{{- $_ := set $values "stageSeconds" ($values.stageSeconds | default (max 600 (mul 20 $gb)) | int) -}}
{{- /* 500 MB/s from the disk to the GPUs. */ -}}
{{- $_ := set $values "swapSeconds" ($values.swapSeconds | default (max 300 (mul 2 $gb)) | int) -}}
{{- /* The version that is served, the next one, and a spare one. */ -}}
{{- $_ := set $values.cache "size" ($values.cache.size | default (printf "%dGi" (add 10 (mul 3 $gb)))) -}}
{{- $requests := $values.resources.requests | default dict }}{{ $limits := $values.resources.limits | default dict -}}
{{- if not (or $requests.memory $limits.memory) }}
{{- $memory := include "tidegate.memory" (list $pool $values $gb) | fromYaml -}}
{{- $_ := set $values.resources "requests" (merge (dict "memory" $memory.request) $requests) -}}
{{- $_ := set $values.resources "limits" (merge (dict "memory" $memory.limit) $limits) -}}
{{- end }}
{{- toYaml $values }}
{{- end }}

{{/* What the slowest worker needs to change its weights, or to be replaced. */}}
{{- define "tidegate.rolloutSeconds" -}}
{{- $longest := 900 }}
{{- range .Values.config.pools }}
{{- $values := include "tidegate.workers" (list $ .) | fromYaml }}
{{- $longest = max $longest $values.startSeconds (add $values.stageSeconds $values.swapSeconds 60) }}
{{- end }}
{{- $longest }}
{{- end }}

{{/* Main memory of a pod. With GPUs it grows with their number, for each has a process, and with the KV that leaves them.
     On a CPU it holds the model, twice while its weights change, and the KV cache: (list pool values gb) */}}
{{- define "tidegate.memory" -}}
{{- $pool := index . 0 }}{{ $values := index . 1 }}{{ $gb := index . 2 }}{{ $engine := dig "engine" dict $pool -}}
{{- if eq $values.device "cuda" -}}
{{- $gpus := include "tidegate.gpus" (list $pool $values) | int }}{{ $offload := dig "kv_offload_gib" 0 $engine | default 0 | ceil | int -}}
request: {{ add 12 (mul 4 $gpus) $offload }}Gi
limit: {{ add 24 (mul 8 $gpus) $offload }}Gi
{{- else -}}
{{- $kv := dig "kv_memory_gib" 1 $engine | default 1 | ceil | int -}}
request: {{ add 4 $gb $kv }}Gi
limit: {{ add 8 (mul 2 $gb) $kv }}Gi
{{- end }}
{{- end }}

{{/* Machines of each worker of a pool. */}}
{{- define "tidegate.nodes" -}}
{{- dig "engine" "nodes" 1 . | int }}
{{- end }}

{{/* What all pods of a pool have, whatever their component: (list $ pool) */}}
{{- define "tidegate.poolSelector" -}}
{{- omit (include "tidegate.selector" (list (index . 0) "") | fromYaml) "app.kubernetes.io/component" | toYaml }}
tidegate/pool: {{ include "tidegate.poolLabel" (index . 1).name | quote }}
{{- end }}

{{/* What Kubernetes scales when it scales a pool: (list $ pool) */}}
{{- define "tidegate.scaleTarget" -}}
{{- $group := gt (include "tidegate.nodes" (index . 1) | int) 1 -}}
apiVersion: {{ ternary "leaderworkerset.x-k8s.io/v1" "apps/v1" $group }}
kind: {{ ternary "LeaderWorkerSet" "Deployment" $group }}
name: {{ include "tidegate.poolObject" . }}
{{- end }}

{{/* Rank 0 is the worker, and the only one that serves: (list $ pool values). LWS_* come from the LeaderWorkerSet. */}}
{{- define "tidegate.workerEnvironment" -}}
{{- $root := index . 0 }}{{ $pool := index . 1 }}{{ $values := index . 2 -}}
- {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: TIDEGATE_WORKER_ID, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: TIDEGATE_ADVERTISE, value: "$(POD_IP):8081"}
- {name: TIDEGATE_STAGE_LIMIT_S, value: {{ $values.stageSeconds | quote }}}
- {name: TIDEGATE_SWAP_LIMIT_S, value: {{ $values.swapSeconds | quote }}}
{{ include "tidegate.serving" $root }}
{{ include "tidegate.routers" $root }}
{{- end }}

{{- define "tidegate.followerEnvironment" -}}
- {name: TIDEGATE_CONFIG, value: /etc/tidegate/tidegate.yaml}
- {name: TIDEGATE_GROUP_ADDRESS, value: "$(LWS_LEADER_ADDRESS):8081"}
- {name: TIDEGATE_NODE_RANK, value: "$(LWS_WORKER_INDEX)"}
{{- end }}

{{/* The template of a pool's pods: (list $ pool values "worker"), or "follower" for the pods of its other nodes. */}}
{{- define "tidegate.workerPod" -}}
{{- $root := index . 0 }}{{ $pool := index . 1 }}{{ $values := index . 2 }}{{ $component := index . 3 -}}
{{- $labels := merge (dict "tidegate/pool" (include "tidegate.poolLabel" $pool.name)) ($values.podLabels | default dict) -}}
{{- $own := merge (dict "podLabels" $labels) $values -}}
metadata:
  {{- include "tidegate.podMetadata" (list $root $component $own (include "tidegate.poolChecksum" $pool)) | nindent 2 }}
spec:
  {{- include "tidegate.pod" (list $root) | nindent 2 }}
  {{- include "tidegate.scheduling" $values | nindent 2 }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $values.hostIPC }}
  hostIPC: true
  {{- end }}
  terminationGracePeriodSeconds: {{ add $values.drainSeconds 30 }}
  containers:
    - name: {{ $component }}
      {{- if $values.image }}
      image: {{ $values.image | quote }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- else }}
      {{- include "tidegate.image" (list $root (printf "worker-%s" $values.device)) | nindent 6 }}
      {{- end }}
      {{- if eq $component "follower" }}
      command: [python3, -m, services.worker, --follow]
      {{- end }}
      {{- $security := include "tidegate.containerSecurity" $root | fromYaml }}
      {{- $_ := set $security.securityContext "readOnlyRootFilesystem" $values.readOnlyRootFilesystem }}
      {{- toYaml $security | nindent 6 }}
      env:
        {{- include (printf "tidegate.%sEnvironment" $component) (list $root $pool $values) | nindent 8 }}
        {{- include "tidegate.environment" $root | nindent 8 }}
        {{- include "tidegate.store" (list $root "worker") | nindent 8 }}
        - {name: TIDEGATE_POOL, value: {{ $pool.name | quote }}}
        - {name: TIDEGATE_CACHE_DIR, value: /var/lib/tidegate/models}
        - {name: TIDEGATE_DRAIN_S, value: {{ $values.drainSeconds | quote }}}
        {{- include "tidegate.fromSecret" (list "TIDEGATE_TRUSTED_KEYS" $root.Values.signing.existingSecret "trusted-keys") | nindent 8 }}
        {{- with $values.extraEnv }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- if eq $component "follower" }}
      ports:
        - {name: http, containerPort: 8080}
      {{- else }}
      {{- include "tidegate.ports" $root | nindent 6 }}
      {{- end }}
      {{- include "tidegate.probes" (list "/readyz" $values.startSeconds) | nindent 6 }}
      resources:
        {{- $resources := deepCopy $values.resources }}
        {{- if eq $values.device "cuda" }}
        {{- $_ := set $resources "limits" (set (dig "limits" dict $resources) $values.gpuResource (include "tidegate.gpus" (list $pool $values) | int)) }}
        {{- end }}
        {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        {{- include "tidegate.configMount" $root | nindent 8 }}
        {{- include "tidegate.mounts" $root | nindent 8 }}
        - {name: cache, mountPath: /var/lib/tidegate}
        - {name: shm, mountPath: /dev/shm}
        {{- with $values.extraVolumeMounts }}{{ toYaml . | nindent 8 }}{{ end }}
  volumes:
    {{- include "tidegate.configVolume" $root | nindent 4 }}
    {{- include "tidegate.volumes" $root | nindent 4 }}
    {{- if $values.cache.existingClaim }}
    - {name: cache, persistentVolumeClaim: {claimName: {{ $values.cache.existingClaim | quote }}}}
    {{- else if $values.cache.storageClass }}
    - name: cache
      ephemeral:
        volumeClaimTemplate:
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: {{ $values.cache.storageClass | quote }}
            resources: {requests: {storage: {{ $values.cache.size }}}}
    {{- else }}
    - {name: cache, emptyDir: {sizeLimit: {{ $values.cache.size }}}}
    {{- end }}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ $values.sharedMemory }}}}
    {{- with $values.extraVolumes }}{{ toYaml . | nindent 4 }}{{ end }}
{{- end }}
