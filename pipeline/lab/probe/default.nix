# The probe's image, layer by layer: what changes least lies lowest.
{ system }:

let
  image = import ./image.nix { inherit system; };
  version = builtins.head (builtins.split "\n" (builtins.readFile ./version));

  # A shell for whoever must look into a running pod, and the files without which no user has a name.
  base = image.layer "base" ''
    mkdir -p "$root/bin" "$root/etc" "$root/tmp"
    for busybox in /bin/busybox.static /usr/bin/busybox /bin/busybox; do
      if test -x "$busybox"; then cp -L "$busybox" "$root/bin/busybox"; break; fi
    done
    chmod 755 "$root/bin/busybox"
    for applet in sh ls cat ps id env wget nslookup; do ln -s busybox "$root/bin/$applet"; done
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' > "$root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\n' > "$root/etc/group"
    chmod 1777 "$root/tmp"
  '';

  # The C library that any program compiled here needs, with the parts it loads at run time to look names up.
  runtime = image.layer "runtime" ''
    echo 'int main(void) { return 0; }' | gcc -pthread -Wl,--no-as-needed -x c - -o any
    mkdir -p "$root/etc"
    echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
    for library in $(ldd ./any | grep -o '/[^ ]*'); do
      for part in "$library" "''${library%/*}/libresolv.so.2" "''${library%/*}/libnss_dns.so.2" "''${library%/*}/libnss_files.so.2"; do
        if test -e "$part"; then
          mkdir -p "$root''${part%/*}"
          cp -L "$part" "$root$part"
          chmod 755 "$root$part"
        fi
      done
    done
  '';

  app = image.layer "app" ''
    mkdir -p source "$root/bin"
    cp ${image.file ./server.c} source/server.c
    cp ${image.file ./database.c} source/database.c
    cp ${image.file ./database.h} source/database.h
    cp ${image.file ./compile.sh} compile.sh
    sh compile.sh source "$root/bin/RunProdServer"
  '';

  configuration = image.layer "configuration" ''
    mkdir -p "$root/etc/probe"
    cp ${image.file ./version} "$root/etc/probe/version"
    chmod 644 "$root/etc/probe/version"
  '';
in
image.archive {
  name = "ihp-railiance-probe";
  tag = version;
  layers = [ base runtime app configuration ];
  config = {
    Entrypoint = [ "/bin/RunProdServer" ];
    User = "65534:65534";
    ExposedPorts."8000/tcp" = { };
    Env = [ "PATH=/bin" ];
    Labels = {
      "org.opencontainers.image.title" = "ihp-railiance-probe";
      "org.opencontainers.image.description" = "The small HTTP service that the pipeline releases to prove itself";
      "org.opencontainers.image.version" = version;
    };
  };
}
