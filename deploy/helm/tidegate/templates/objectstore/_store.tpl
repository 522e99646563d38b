{{/* Scripts and policies, by file name. The policies name the bucket. */}}
{{- define "tidegate.storeScripts" -}}
{{- $kind := .Values.objectStore.bundled.kind }}{{ $bucket := .Values.objectStore.bucket -}}
{{ $kind }}.sh: |
  {{- .Files.Get (printf "files/s3/%s.sh" $kind) | nindent 2 }}
{{- range include "tidegate.storeAccounts" . | fromYamlArray }}
{{ . }}.json: |
  {{- $.Files.Get (printf "files/s3/policies/%s.json" .) | replace "s3:::tidegate" (printf "s3:::%s" $bucket) | nindent 2 }}
{{- end }}
{{- end }}

{{/* The environment of these scripts. */}}
{{- define "tidegate.storeEnvironment" -}}
- {name: STORE_SECRETS, value: /etc/store-keys}
- {name: STORE_BUCKET, value: {{ .Values.objectStore.bucket | quote }}}
{{- end }}

{{- define "tidegate.storeMounts" -}}
- {name: scripts, mountPath: /etc/s3, readOnly: true}
- {name: keys, mountPath: /etc/store-keys, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "tidegate.storeVolumes" -}}
{{- $kind := .Values.objectStore.bundled.kind -}}
- name: scripts
  configMap:
    name: {{ include "tidegate.object" (list . "object-store") }}
    items:
      - {key: {{ $kind }}.sh, path: {{ $kind }}.sh}
      {{- range include "tidegate.storeAccounts" . | fromYamlArray }}
      - {key: {{ . }}.json, path: policies/{{ . }}.json}
      {{- end }}
- name: keys
  secret: {secretName: {{ include "tidegate.object" (list . $kind) }}, defaultMode: 0440}
- {name: tmp, emptyDir: {}}
{{- end }}
