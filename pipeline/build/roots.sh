# What the builds of an application have left: sh -c THIS roots list ROOTS | forget ROOTS KEY | collect
#
# `list` prints "STATE KEY" for each root, newest first: STATE is busy while its build is under way, else done. `forget` takes a root away, unless its
# build is under way. `collect` deletes what no root of anybody holds.
export LC_ALL=C PATH="$PATH:$HOME/.nix-profile/bin:/nix/var/nix/profiles/default/bin"
case $1 in
list)
	[ -d "$2" ] || exit 0
	cd "$2" || exit 1
	ls -1t | sed -n 's/\.facts$//p' | while IFS= read -r key; do
		if [ -d ".work-$key" ]; then echo "busy $key"; else echo "done $key"; fi
	done
	;;
forget)
	cd "$2" || exit 1
	[ ! -d ".work-$3" ] || exit 0
	rm -f "$3.facts" "$3"
	;;
collect)
	command -v nix >/dev/null 2>&1 || { echo "nix is not there" >&2; exit 71; }
	exec nix --extra-experimental-features 'nix-command flakes' store gc 2>&1
	;;
esac
