# Says whether a tree is on this host and which others are: sh -c THIS look BASE TREE
#
# Answers in lines: "there", or "have ID" for each tree that a difference can be taken from, and "lacks TOOL" for what has to be installed first.
# A tree that was written before the last start of the machine is not counted: receive.sh says why.
base=$1 tree=$2
then='' && read -r now </proc/sys/kernel/random/boot_id && { read -r then <"$base/boots/$tree"; } 2>/dev/null
if [ -d "$base/trees/$tree" ] && [ "$then" = "$now" ]; then
	echo there
	exit 0
fi
command -v git >/dev/null 2>&1 || echo lacks git
command -v flock >/dev/null 2>&1 || echo lacks flock
[ ! -d "$base/source.git" ] || git --git-dir="$base/source.git" for-each-ref --format='have %(objectname)' refs/trees
exit 0
