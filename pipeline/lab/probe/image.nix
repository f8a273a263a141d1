# A container image without nixpkgs: layers and a docker-archive, made by the build host's own shell, tar and C compiler.
#
# Every layer is a derivation of its own, so a change rebuilds the layers it touches and the archive around them, nothing else.
# The price of having no inputs: the host's tools are not part of the derivation's name. After an upgrade of the host's C library
# or compiler, `nix build --rebuild` tells whether the image would now be another one.
{ system }:

let
  architecture = { x86_64-linux = "amd64"; aarch64-linux = "arm64"; }.${system};

  # Single files, not the folder: a line changed in the README must not give a new image.
  file = path: builtins.path { inherit path; name = baseNameOf path; };

  run = name: script: derivation {
    inherit name system;
    builder = "/bin/sh";
    args = [ "-euc" script ];
    PATH = "/usr/local/bin:/usr/bin:/bin";
    LC_ALL = "C";
    SOURCE_DATE_EPOCH = "1";
    preferLocalBuild = true;
    allowSubstitutes = false;
  };

  # Whatever the host adds to files (order, times, owners) is levelled.
  deterministic = "--sort=name --format=gnu --owner=0 --group=0 --numeric-owner --mtime=@1";

  # `script` fills the folder "$root"; the result holds layer.tar and its digest.
  layer = name: script: run "layer-${name}" ''
    umask 022
    root=$PWD/root
    mkdir "$root" "$out"
    ${script}
    cd "$root"
    tar --create --file "$out/layer.tar" ${deterministic} *
    sha256sum "$out/layer.tar" | cut -d ' ' -f 1 | tr -d '\n' > "$out/digest"
  '';

  # `layers` from the lowest to the topmost; `config` is the image configuration's inner "config".
  archive = { name, tag, layers, config }: run "${name}.tar" ''
    mkdir image
    cd image
    diff_ids=
    names=
    history=
    for layer in ${toString layers}; do
      digest=$(cat "$layer/digest")
      cp "$layer/layer.tar" "$digest.tar"
      diff_ids="$diff_ids''${diff_ids:+,}\"sha256:$digest\""
      names="$names''${names:+,}\"$digest.tar\""
      history="$history''${history:+,}{\"created\":\"1970-01-01T00:00:01Z\",\"created_by\":\"nix ''${layer##*-layer-}\"}"
    done
    cat > config <<END
    {"architecture":"${architecture}","os":"linux","created":"1970-01-01T00:00:01Z","config":${builtins.toJSON config},"rootfs":{"type":"layers","diff_ids":[$diff_ids]},"history":[$history]}
    END
    digest=$(sha256sum config | cut -d ' ' -f 1)
    mv config "$digest.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":[%s]}]' "$digest" "${name}:${tag}" "$names" > manifest.json
    # An uncompressed tar: skopeo 1.9 reads a compressed archive wrongly, and the layers are compressed on their way to the registry.
    tar --create --file "$out" ${deterministic} --mode=0644 manifest.json "$digest.json" *.tar
  '';
in
{ inherit file layer archive; }
