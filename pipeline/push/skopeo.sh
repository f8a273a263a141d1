# Copies a docker-archive to a registry through a relay. POSIX sh; works with busybox ash.
# $1 folder for cache and temporary files  $2 archive  $3 relay's host:port  $4 name the relay stands for  $5 repository:tag
# $6 skopeo  $7... the words that follow it, up to the options that are added below. stdin: the authfile. stdout: the digest, nothing else.
# Exit: 91 no archive, 92 the archive's gzip is damaged, 93 no skopeo, 94 no room to unpack, otherwise skopeo's own.
set -u
umask 077
state=$1 archive=$2 relay=$3 name=$4 image=$5 skopeo=$6
shift 6

private= temporary= child=
leave() {
  if test -n "$child"; then kill "$child" 2>/dev/null; wait "$child" 2>/dev/null; fi
  rm -rf -- "${private:-/nonexistent}" "${temporary:-/nonexistent}"
}
trap leave EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What a run that was killed left behind: its folders carry the number of its process. Containers may share /dev/shm without
# sharing process numbers, so the name says whose numbers are meant, and the others' folders are left alone.
mine=pipeline-push.$(readlink /proc/self/ns/pid | tr -dc 0-9)
sweep() {
  for left in "$1/$mine".*; do
    test -d "$left" && test -O "$left" && test ! -L "$left" || continue
    owner=${left##*/"$mine".}
    kill -0 "${owner%%.*}" 2>/dev/null || rm -rf -- "$left"
  done
}

mkdir -p -- "$state" || exit 94
for base in "${XDG_RUNTIME_DIR:-}" /dev/shm /run "$state"; do
  test -n "$base" && test -d "$base" && test -w "$base" || continue
  sweep "$base"
  private=$(mktemp -d "$base/$mine.$$.XXXXXX") && break
done
test -n "$private" || exit 94
sweep "$state"
temporary=$(mktemp -d "$state/$mine.$$.XXXXXX") || exit 94
cat > "$private/auth.json" || exit 94

test -f "$archive" && test -r "$archive" || exit 91
command -v -- "$skopeo" > /dev/null || exit 93

# skopeo 1.9 reads a gzip'd docker-archive wrongly, whatever it is called: only the first two bytes tell.
case $(head -c 2 -- "$archive" | od -An -tx1 | tr -d ' \n') in
  1f8b)
    if ! gzip -dc < "$archive" > "$temporary/image.tar" 2> "$temporary/said"; then
      cat "$temporary/said" >&2
      if gzip -t < "$archive" 2> /dev/null; then exit 94; fi
      exit 92
    fi
    ;;
  *) ln -s -- "$archive" "$temporary/image.tar" ;;
esac

# The relay is the proxy of a name that exists nowhere: skopeo files what it knows of a registry's layers under the registry's
# name, and a name that stays the same while the relay's port changes keeps that knowledge from run to run.
export http_proxy="http://$relay" https_proxy="http://$relay" HTTP_PROXY="http://$relay" HTTPS_PROXY="http://$relay" no_proxy= NO_PROXY=
# Root's cache would lie in /var/lib/containers, whatever XDG_DATA_HOME says, unless containers/image takes root for another user.
export XDG_DATA_HOME="$state" _CONTAINERS_ROOTLESS_UID="$(id -u | sed 's/^0$/1/')"
# --tmpdir, since 1.9 does not heed TMPDIR and fills /var/tmp.
"$skopeo" --tmpdir "$temporary" "$@" --authfile "$private/auth.json" --digestfile "$private/digest" -- "docker-archive:$temporary/image.tar" "docker://$name/$image" >&2 &
child=$!
wait "$child"
code=$?
child=
test "$code" -eq 0 || exit "$code"
cat "$private/digest" && echo
