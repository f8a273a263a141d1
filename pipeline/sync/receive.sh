# Takes a pack, and publishes the tree in it as a folder: sh -c THIS receive BASE TREE FORMAT PACK KEEP PATIENCE HOLDER
#
# PACK is a file, or - for stdin. The folder BASE/trees/TREE appears at once and complete, or not at all; KEEP of them stay. Whatever a killed
# run left is removed by the next. BASE/boots says in which boot a tree was written: after a power cut files can be empty under their names, so a
# tree of another boot is written and compared again from the repository, whose packs git has put on the disk. Ends with 71 (a tool is missing), 72 (another holds the lock), 74 (the files are not the tree), 75 (the pack
# does not hold together here: send everything), or git's own code.
base=$1 tree=$2 format=$3 pack=$4 keep=$5 patience=$6 holder=$7
repo=$base/source.git trees=$base/trees
umask 022
export LC_ALL=C HOME="$base" GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_TERMINAL_PROMPT=0
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY XDG_CONFIG_HOME

fail() {
	code=$1
	shift
	[ $# = 0 ] || printf '%s\n' "$*" >&2
	# before anything is removed: git does not say that the disk is full where it writes files
	df -Pk "$base" 2>/dev/null | awk 'NR == 2 { print "space " $4 }' >&2
	df -Pi "$base" 2>/dev/null | awk 'NR == 2 && $2 > 0 { print "inodes " $4 }' >&2
	rm -rf "$trees/.new"
	exit "$code"
}

quiet() { # git without anything that would run a program or change bytes
	git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c core.autocrlf=false -c core.safecrlf=false -c core.fileMode=true \
		-c core.symlinks=true -c core.ignoreCase=false -c core.bare=false -c gc.auto=0 "$@" 9>&-
}

for tool in git flock; do
	command -v "$tool" >/dev/null 2>&1 || fail 71 "lacks $tool"
done
mkdir -p "$trees" || fail 1
chmod 700 "$base"

# one at a time; the kernel lets go of the lock when its holder dies
exec 9>>"$base/lock" || fail 1
tries=$((patience * 5))
until flock -n 9; do
	[ "$tries" -gt 0 ] || fail 72 "held by $(cat "$base/lock.holder" 2>/dev/null)"
	[ "$tries" -lt $((patience * 5)) ] || echo "waits for $(cat "$base/lock.holder" 2>/dev/null)"
	tries=$((tries - 1))
	sleep 0.2
done
[ "$tries" = $((patience * 5)) ] || echo "waited $((patience - tries / 5))"
printf '%s\n' "$holder since $(date -u +%Y-%m-%dT%H:%M:%SZ), its process $$ is alive" >"$base/lock.holder"

# what a killed run left; nobody else is at work here now
rm -rf "$trees/.new" "$trees/.old"
if [ -d "$repo" ]; then
	rm -f "$repo"/objects/pack/tmp_* "$repo"/objects/tmp_* "$repo"/objects/??/tmp_*
	find "$repo" -name '*.lock' -exec rm -f {} +
fi
[ ! -d "$base/incoming" ] || find "$base/incoming" -type f -mtime +0 -exec rm -f {} +
then='' && read -r now </proc/sys/kernel/random/boot_id && { read -r then <"$base/boots/$tree"; } 2>/dev/null
if [ -d "$trees/$tree" ] && [ "$then" = "$now" ]; then
	[ "$pack" = - ] || rm -f "$pack"
	echo there
	exit 0
fi

if [ ! -f "$repo/info/attributes" ]; then
	git init --quiet --bare --object-format="$format" "$repo" 2>/dev/null || git init --quiet --bare "$repo" >&2 || fail 1
	mkdir -p "$repo/info" "$repo/refs/trees"
	# the tree's own attributes must not change a byte on the way out or in
	printf '* -text -filter -ident -working-tree-encoding\n' >"$repo/info/attributes.new" || fail 1
	mv "$repo/info/attributes.new" "$repo/info/attributes" || fail 1
fi
export GIT_DIR="$repo"

index() {
	quiet index-pack --stdin --fix-thin 9>&- >/dev/null
}

if [ "$pack" = - ]; then index; else index <"$pack"; fi || {
	code=$?
	[ "$pack" = - ] || rm -f "$pack"
	rm -f "$repo"/objects/pack/tmp_*
	fail 75
}
[ "$pack" = - ] || rm -f "$pack"

new=$trees/.new
export GIT_WORK_TREE="$new/tree"
mkdir -p "$new/tree" && cd "$new/tree" || fail 1
GIT_INDEX_FILE=$new/index quiet read-tree "$tree" || fail 75
GIT_INDEX_FILE=$new/index quiet checkout-index --all --force || fail 1
# the files' real bytes are hashed again: what was written is what is compared
GIT_INDEX_FILE=$new/again quiet add --all --force . || fail 1
found=$(GIT_INDEX_FILE=$new/again quiet write-tree) || fail 1
[ "$found" = "$tree" ] || fail 74 "found $found"
cd "$base" || fail 1
quiet update-ref "refs/trees/$tree" "$tree" || fail 1
[ ! -d "$trees/$tree" ] || mv "$trees/$tree" "$trees/.old" || fail 1
{ mkdir -p "$base/boots" && echo "$now" >"$base/boots/$tree"; } || fail 1
mv "$new/tree" "$trees/$tree" || fail 1
rm -rf "$trees/.old"
rm -rf "$new"
unset GIT_WORK_TREE
echo made

ls -1t "$trees" | tail -n "+$((keep + 1))" | while read -r old; do
	mv "$trees/$old" "$trees/.old"
	rm -f "$base/boots/$old"
	quiet update-ref -d "refs/trees/$old"
	rm -rf "$trees/.old"
done
# every sync leaves a pack; some dozens of them make git slow
set -- "$repo"/objects/pack/*.pack
[ $# -le 50 ] || quiet gc --quiet --prune=now
exit 0
