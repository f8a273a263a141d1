"""The relay: a health page over HTTP and a bare repository over git's own protocol."""
