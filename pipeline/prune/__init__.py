"""Takes away what no release needs any more: old images, revisions and nix roots. What is needed is asked of everybody first."""
