terraform {
  # 1.5 is the first that Terraform and OpenTofu have in common.
  required_version = ">= 1.5"

  required_providers {
    spot = {
      source  = "rackerlabs/spot"
      version = "~> 0.1.4"
    }
  }

  # inv infra.* says where the state lies. By hand: terraform init -backend-config=path=…
  backend "local" {}
}

# What is read from the file is in no plan and no state. Without a token here the provider reads RXTSPOT_TOKEN_FILE or RXTSPOT_TOKEN.
provider "spot" {
  token = var.rackspace_spot_token != null ? var.rackspace_spot_token : local.token
}

locals {
  token_file = "${path.module}/${var.token_file}"
  token      = var.token_file != "" && fileexists(local.token_file) ? sensitive(trimspace(file(local.token_file))) : null
}
