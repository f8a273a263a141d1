// The relay on Kubernetes. What the release puts in is given by value: the image by its digest, and what it is made from.
function(image, commit='unknown', version='unknown', replicas=1) {
  local name = 'relay',
  local labels = { app: name },

  settings: {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: name, labels: labels },
    data: {
      RELAY_PORT: '8088',
      RELAY_GIT_PORT: '9418',
      RELAY_DATA: '/data',
      RELAY_DRAIN_SECONDS: '3',
      RELAY_VERSION: version,
      RELAY_COMMIT: commit,
    },
  },

  service: {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: name, labels: labels },
    spec: {
      selector: labels,
      ports: [
        { name: 'http', port: 8088, targetPort: 'http' },
        { name: 'git', port: 9418, targetPort: 'git' },
      ],
    },
  },

  deployment: {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: name, labels: labels },
    spec: {
      replicas: replicas,
      selector: { matchLabels: labels },
      strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: {
        // The settings reach the process when it starts only: a change of theirs has to start new pods.
        metadata: { labels: labels, annotations: { 'relay/settings': '%s %s' % [version, commit] } },
        spec: {
          automountServiceAccountToken: false,
          terminationGracePeriodSeconds: 30,
          securityContext: { runAsNonRoot: true, runAsUser: 65534, runAsGroup: 65534, seccompProfile: { type: 'RuntimeDefault' } },
          containers: [{
            name: name,
            image: image,
            envFrom: [{ configMapRef: { name: name } }],
            ports: [{ name: 'http', containerPort: 8088 }, { name: 'git', containerPort: 9418 }],
            readinessProbe: { httpGet: { path: '/health', port: 'http' }, periodSeconds: 1, failureThreshold: 2 },
            livenessProbe: { tcpSocket: { port: 'http' }, periodSeconds: 10 },
            resources: { requests: { cpu: '10m', memory: '32Mi' }, limits: { memory: '128Mi' } },
            securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
            volumeMounts: [{ name: 'data', mountPath: '/data' }],
          }],
          volumes: [{ name: 'data', emptyDir: { sizeLimit: '64Mi' } }],
        },
      },
    },
  },
}
