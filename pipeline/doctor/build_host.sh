# Prints what a build host is and has, one fact a line: sh -c THIS look STATE STORE GHC SKOPEO TOOL...
state=$1 store=$2 ghc=$3 skopeo=$4
shift 4
export LC_ALL=C PATH="$PATH:$HOME/.nix-profile/bin:/nix/var/nix/profiles/default/bin"
printf 'now %s\n' "$(date +%s)"
printf 'system %s\n' "$(uname -sm)"
printf 'cpus %s\n' "$(getconf _NPROCESSORS_ONLN 2>/dev/null || nproc)"
sed -n -e 's/^MemTotal: *\([0-9]*\).*/memory \1/p' -e 's/^SwapTotal: *\([0-9]*\).*/swap \1/p' /proc/meminfo
# what its nix, git and skopeo go through; a login in it stays there
env | sed -n -e 's#//[^/@]*@#//#' -e 's/^\(https_proxy\|HTTPS_PROXY\|all_proxy\|ALL_PROXY\|no_proxy\|NO_PROXY\|NIX_SSL_CERT_FILE\|SSL_CERT_FILE\)=./way &/p'
if command -v systemctl >/dev/null 2>&1; then
	systemctl show nix-daemon --property Environment 2>/dev/null | sed -n -e 's/^Environment=//' -e 's#//[^/@]*@#//#g' -e 's/..*/daemon &/p'
fi

for tool in "$@"; do
	if command -v "$tool" >/dev/null 2>&1; then echo "has $tool"; else echo "lacks $tool"; fi
done
if command -v git >/dev/null 2>&1; then printf 'git %s\n' "$(git --version)"; fi
if command -v "$skopeo" >/dev/null 2>&1; then printf 'skopeo %s\n' "$("$skopeo" --version)"; fi

if command -v nix >/dev/null 2>&1; then
	printf 'nix %s\n' "$(nix --version)"
	# `config show` since nix 2.20, `show-config` before
	{ nix --extra-experimental-features nix-command config show || nix --extra-experimental-features nix-command show-config; } 2>/dev/null |
		sed -n -e 's/^\(experimental-features\|sandbox\|allowed-users\|trusted-users\|max-jobs\|cores\|substituters\) = /setting &/p'
	said=$(nix --extra-experimental-features nix-command store ping 2>&1) && echo "store answers" ||
		printf '%s\n' "$said" | tail -n 3 | sed 's/^/store-said /'
fi

# the nearest folder that is there: the pipeline makes the rest itself
folder=$state
while [ ! -e "$folder" ]; do folder=$(dirname "$folder"); done
if [ -w "$folder" ]; then echo "state writable $folder"; else echo "state closed $folder"; fi
for place in "$folder" "$store"; do
	[ -e "$place" ] || continue
	printf 'disk %s %s %s\n' "$(df -Pk "$place" | awk 'END { print $4 }')" \
		"$(df -Pi "$place" 2>/dev/null | awk 'END { print $4 + 0, $2 + 0 }')" "$place"
done

for package in "$store"/*-ghc-"$ghc"*/; do
	[ -d "${package}lib" ] || continue
	find "${package}lib" -name "libHSghc-$ghc-*.a" ! -name '*_p.a' -exec stat -c 'archive %s %n' {} +
done
exit 0
