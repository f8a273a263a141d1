// The probe, with two ports as the relay has them. The same objects as web.yaml.
local settings = import 'settings.libsonnet';
function(image, secret, note='none') {
  local labels = { app: 'web' },
  settings: {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'web' },
    data: settings { NOTE: note },
  },
  service: {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web' },
    spec: { selector: labels, ports: [{ name: 'http', port: 8088, targetPort: 'http' }] },
  },
  deployment: {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'web' },
    spec: {
      replicas: 1,
      selector: { matchLabels: labels },
      strategy: { rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      template: {
        metadata: { labels: labels, annotations: { secret: secret, note: note } },
        spec: {
          terminationGracePeriodSeconds: 2,
          containers: [{
            name: 'app',
            image: image,
            terminationMessagePolicy: 'FallbackToLogsOnError',
            ports: [{ name: 'http', containerPort: 8000 }],
            envFrom: [{ configMapRef: { name: 'web' } }, { secretRef: { name: 'web-env' } }],
            readinessProbe: { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 1 },
            resources: { limits: { memory: '64Mi' } },
          }],
        },
      },
    },
  },
}
