{
  description = "ihp-railiance-probe: the image that this repository's own pipeline releases";

  # No inputs: the build host of the lab reaches neither nixpkgs nor a binary cache. docs/ihp-flake.md shows a real application's flake.
  outputs = { self }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      docker = system: import ./pipeline/lab/probe { inherit system; };
      packages = system: { docker = docker system; default = docker system; };
    in
    {
      packages = builtins.listToAttrs (map (name: { inherit name; value = packages name; }) systems);
    };
}
