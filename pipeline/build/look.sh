# Prints what is known of a build, where its output still stands: sh -c THIS look ROOTS KEY
#
# Lines as build.sh wrote them, and "now SIZE": an archive that is not the size it had is damaged.
roots=$1 key=$2
if [ ! -e "$roots/$key" ] || [ ! -f "$roots/$key.facts" ]; then
	echo absent
	exit 0
fi
archive=$(sed -n 's/^archive //p' "$roots/$key.facts")
printf 'link %s\n' "$(readlink "$roots/$key")"
printf 'now %s\n' "$(stat -L -c %s "$archive" 2>/dev/null)"
cat "$roots/$key.facts"
