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

# Without a token here the provider reads RXTSPOT_TOKEN_FILE or RXTSPOT_TOKEN, and the token is in no plan and no state.
provider "spot" {
  token = var.rackspace_token
}
