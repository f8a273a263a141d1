"""One public name led through a Cloudflare Tunnel to a service of the cluster: checked, shown, and put in place beside what others have."""
