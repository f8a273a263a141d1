# Builds, then reads the archive that came of it: sh -c THIS build ROOTS KEY KEEP LOCK HOLDER PATIENCE INSTALLABLE NIX...
#
# NIX... is the argv of the build up to what is built; its log goes to stderr, and the facts about the archive follow on stdout, each line after "@fact ".
# They are kept in ROOTS/KEY.facts, which appears at once. LOCK.holder says whose build has the LOCK: HOLDER, since when, its process. Lines after
# "@wait " say who is waited for, "@waited SECONDS" for how long it was. Ends with nix's own code, 71 where there is no nix, 72 where another build
# has the lock for PATIENCE seconds, 76 where the output is no image.
roots=$1 key=$2 keep=$3 lock=$4 holder=$5 patience=$6 installable=$7
shift 7
umask 077
export LC_ALL=C PATH="$PATH:$HOME/.nix-profile/bin:/nix/var/nix/profiles/default/bin"
if ! command -v "$1" >/dev/null 2>&1; then
	echo "lacks $1"
	exit 71
fi
mkdir -p "$roots" || exit 1

# two large builds at once would need the memory of two, and who has the lock may sweep what killed builds left: held until the archive is read.
# The kernel lets go of the lock when its holder dies
exec 8>>"$lock" || exit 1
if command -v flock >/dev/null 2>&1; then
	first=$(date +%s) waited=0 told=
	until flock -n 8; do
		said=$(cat "$lock.holder" 2>/dev/null)
		if [ "$said" != "$told" ] || [ $((waited % 60)) = 59 ]; then
			echo "@wait ${said:-another build on this host}"
			told=$said
		fi
		if [ "$waited" -ge "$patience" ]; then
			echo "@waited $waited"
			exit 72
		fi
		sleep 1
		waited=$(($(date +%s) - first))
	done
	[ "$waited" = 0 ] || echo "@waited $waited"
	echo "$holder since $(date -u +%Y-%m-%dT%H:%M:%SZ), its process $$ is alive" >"$lock.holder"
	rm -rf "$roots"/.work-*
fi

work=$roots/.work-$key
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
mkdir "$work" || exit 1
"$@" -- "$installable" >"$work/build.json" || exit

chunks() { # a file of any length in lines that any reader takes
	base64 <"$2" | sed "s/^/$1 /"
}

start() { # the first two bytes of stdin, in hexadecimal
	head -c 2 | od -An -tx1 | tr -d ' \n'
}

bad() {
	printf 'bad %s\n' "$*"
	return 1
}

facts() {
	out=$(readlink "$roots/$key") || return
	archive=$out
	if [ -d "$out" ]; then
		find "$out" -type f \( -name '*.tar' -o -name '*.tar.gz' -o -name '*.tgz' \) >"$work/archives"
		[ "$(wc -l <"$work/archives")" -eq 1 ] || bad "folder $(wc -l <"$work/archives")" || return
		archive=$(cat "$work/archives")
	fi
	size=$(stat -L -c %s "$archive") || return
	printf 'out %s\narchive %s\nsize %s\n' "$out" "$archive" "$size"
	chunks built "$work/build.json"

	tar=$archive
	case $(start <"$archive") in
	1f8b)
		tar=$work/archive.tar
		# more than a hundredfold is no image but a bomb
		{ gzip -dc "$archive" || echo broken >"$work/broken"; } 2>/dev/null | head -c $((size * 100 + 1048576)) >"$tar"
		[ ! -e "$work/broken" ] || bad "truncated or corrupt gzip" || return
		;;
	2321) bad "script" || return ;;
	28b5) bad "zstd" || return ;;
	'') bad "empty" || return ;;
	esac

	{ tar -tf "$tar" >"$work/names" && tar -tvf "$tar" >"$work/listing"; } 2>/dev/null || bad "truncated or not a tar archive" || return
	[ "$(wc -l <"$work/names")" -le 1000 ] || bad "more than 1000 members" || return
	sed 's|^\./||' "$work/names" >"$work/plain"
	! cut -c1 "$work/listing" | grep -q '[^dhl-]' || bad "a member that is neither file, folder nor link" || return
	# skopeo takes a hard link for an empty file; busybox lists one as a file that leads on
	! grep -qE '^(h|-.* -> )' "$work/listing" || bad "a hard link, where every layer has to be a file" || return
	sed -nE 's|^l.* ([^ ]+) -> ([^ ]+)$|soft \1 \2|p' "$work/listing" | sed 's|^soft \./|soft |' >"$work/soft"
	[ "$(grep -c '^l' "$work/listing")" -eq "$(wc -l <"$work/soft")" ] || bad "a link with an unusual name" || return
	cat "$work/soft"
	if ! grep -qx 'manifest.json' "$work/plain"; then
		! grep -qx 'oci-layout' "$work/plain" || bad "oci" || return
		bad "no manifest.json" || return
	fi
	member manifest.json | head -c 1048577 >"$work/manifest"
	[ "$(wc -c <"$work/manifest")" -le 1048576 ] || bad "manifest.json is larger than 1 MiB" || return
	chunks manifest "$work/manifest"
	config=$(sed -n 's/.*"Config"[[:space:]]*:[[:space:]]*"\([A-Za-z0-9._/:-]*\)".*/\1/p' "$work/manifest" | head -n 1)
	case $config in
	'' | -*) bad "manifest.json names no config" || return ;;
	esac
	member "$config" 2>/dev/null | head -c 1048577 >"$work/config"
	[ "$(wc -c <"$work/config")" -le 1048576 ] || bad "the config is larger than 1 MiB" || return
	chunks config "$work/config"

	nix --extra-experimental-features 'nix-command flakes' path-info --json "$out" >"$work/info.json" 2>/dev/null & # beside the hashing
	count=0
	: >"$work/files"
	while IFS= read -r name; do
		case $name in
		'' | */) continue ;;
		-* | *[!A-Za-z0-9._/+:@=-]*) bad "a member with an unusual name" || return ;;
		esac
		! grep -q "^soft $name " "$work/soft" || continue
		echo "$name" >>"$work/files"
		count=$((count + 1))
		member "$name" | sha256sum >"$work/sha.$count" & # four at a time: a layer takes one core
		[ $((count % 4)) -ne 0 ] || wait
	done <"$work/plain"
	wait
	[ -s "$work/info.json" ] || return
	chunks info "$work/info.json"

	count=0
	while IFS= read -r name; do
		count=$((count + 1))
		read -r hash _ <"$work/sha.$count" || return
		printf 'sha %s %s\n' "$hash" "$name"
		case $name in *.json) continue ;; esac
		# the config names layers by their uncompressed bytes; read twice rather than kept, since a layer may be larger than what is free
		! grep -q "$hash" "$work/config" || continue
		case $(member "$name" 2>/dev/null | start) in
		1f8b) unpack=gzip ;;
		28b5) unpack=zstd ;;
		*) continue ;;
		esac
		command -v "$unpack" >/dev/null 2>&1 || bad "layer zstd" || return
		hash=$(member "$name" | "$unpack" -dc | sha256sum) || return
		printf 'raw %s %s\n' "${hash%% *}" "$name"
	done <"$work/files"
	echo end
}

member() { # one file of the archive, to stdout; some tools write ./ before every name
	if grep -qxF -e "./$1" "$work/names"; then
		tar -xOf "$tar" "./$1"
	else
		tar -xOf "$tar" "$1"
	fi
}

code=0
facts >"$work/facts" || code=76
if [ "$code" = 76 ]; then
	# a store that a full disk or a power cut has damaged says "valid" of empty files: ask it to compare, and build again what differs
	if ! nix --extra-experimental-features 'nix-command flakes' store verify --no-trust "$out" >/dev/null 2>&1; then
		echo "the store path is damaged, builds it again"
		"$@" --repair -- "$installable" >"$work/build.json" || exit
		facts >"$work/facts" && code=0
	fi
fi
sed 's/^/@fact /' "$work/facts"
[ "$code" = 0 ] || exit "$code"
mv "$work/facts" "$roots/$key.facts" || exit

ls -1t "$roots" | grep '\.facts$' | tail -n "+$((keep + 1))" | while IFS= read -r old; do
	rm -f "$roots/$old" "$roots/${old%.facts}"
done
exit 0
