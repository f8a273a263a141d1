variable "rackspace_spot_token" {
  description = "Rackspace Spot API token. Leave it out: what stands here is kept in every saved plan, the file below is not."
  type        = string
  default     = null
  sensitive   = true

  validation {
    condition     = var.rackspace_spot_token == null ? true : can(regex("^[!-~]{8,}$", var.rackspace_spot_token))
    error_message = "A token is one word of at least 8 characters, without blanks or line breaks."
  }
}

variable "token_file" {
  description = "The file with the token, from this folder on. If it is not there, or this is empty, RXTSPOT_TOKEN_FILE or RXTSPOT_TOKEN is read."
  type        = string
  default     = "../../rackspace_token"
}

variable "cloudspace_name" {
  description = "Name of the cloudspace. Another name is another cluster: the old one is deleted."
  type        = string
  default     = "relay"

  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.cloudspace_name))
    error_message = "Lower-case letters, digits and dashes, at most 63, starting with a letter and not ending with a dash."
  }
}

variable "region" {
  description = "Region of the cloudspace. Another region is another cluster: the old one is deleted."
  type        = string
  default     = "us-central-dfw-1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+-[a-z]+-[0-9]+$", var.region))
    error_message = "A region is written as us-central-dfw-1 is."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes version, one of those that the provider knows."
  type        = string
  default     = "1.31.1"

  validation {
    condition     = contains(["1.29.6", "1.30.10", "1.31.1"], var.kubernetes_version)
    error_message = "Version 0.1.4 of the provider knows 1.29.6, 1.30.10 and 1.31.1."
  }
}

variable "server_class" {
  description = "Class of the pool's servers. It belongs to the region."
  type        = string
  default     = "gp.vs1.small-dfw"

  validation {
    condition     = can(regex("^[a-z]+\\.[a-z0-9]+\\.[a-z0-9]+-[a-z]+$", var.server_class))
    error_message = "A class is written as gp.vs1.small-dfw is."
  }
}

variable "bid_price" {
  description = "The most to pay for one server, in US dollars an hour. Whoever is outbid loses the server."
  type        = number
  default     = 0.01

  validation {
    condition     = var.bid_price > 0 && var.bid_price <= 1 && floor(var.bid_price * 1000) == var.bid_price * 1000
    error_message = "More than 0, at most 1 (a typing error costs money), with at most three decimals."
  }
}

variable "server_count" {
  description = "How many servers the pool has. There is no autoscaling."
  type        = number
  default     = 1

  validation {
    condition     = var.server_count >= 1 && var.server_count <= 10 && floor(var.server_count) == var.server_count
    error_message = "A whole number from 1 to 10."
  }
}
