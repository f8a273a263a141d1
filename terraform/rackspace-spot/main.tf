resource "spot_cloudspace" "relay" {
  cloudspace_name    = var.cloudspace_name
  region             = var.region
  kubernetes_version = var.kubernetes_version
  hacontrol_plane    = false
  wait_until_ready   = true # the kubeconfig below can only be had of a control plane that answers
}

resource "spot_spotnodepool" "relay" {
  cloudspace_name      = spot_cloudspace.relay.cloudspace_name
  server_class         = var.server_class
  bid_price            = var.bid_price
  desired_server_count = var.server_count
}

# Its token lives for a short time only: each plan reads a new one, each apply puts it into the outputs.
data "spot_kubeconfig" "relay" {
  cloudspace_name = spot_cloudspace.relay.cloudspace_name
}
