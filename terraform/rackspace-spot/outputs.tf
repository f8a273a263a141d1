output "kubeconfig" {
  description = "Kubeconfig of the cloudspace, as YAML. A site file's `kubeconfig: output:kubeconfig` hands it to the deploy."
  value       = data.spot_kubeconfig.relay.raw
  sensitive   = true # the provider does not mark it
}

output "cloudspace_name" {
  description = "Name of the cloudspace."
  value       = spot_cloudspace.relay.cloudspace_name
}

output "region" {
  description = "Where it is."
  value       = spot_cloudspace.relay.region
}

output "kubernetes_version" {
  description = "Kubernetes version of its control plane."
  value       = spot_cloudspace.relay.kubernetes_version
}

output "bid_status" {
  description = "Whether the pool's bid is winning, as the provider says it."
  value       = spot_spotnodepool.relay.bid_status
}

output "servers_won" {
  description = "How many servers the bid has won so far."
  value       = spot_spotnodepool.relay.won_count
}
