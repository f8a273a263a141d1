# Receives one file for SshHost.put: sh -c THIS put look|add TARGET SUM SIZE OFFSET MODE
#
# The part's name holds the content's sum, so that what an earlier try left can only belong to the same content.
step=$1 target=$2 sum=$3 size=$4 offset=$5 mode=$6
dir=${target%/*}
part=${dir:-/}/.${target##*/}.$(printf %.16s "$sum").part

sum_of() {
	sha256sum <"$1" | cut -d ' ' -f 1
}

count() {
	stat -c %s -- "$1" 2>/dev/null || echo 0
}

free() {
	echo "$(($(df -Pk -- "${dir:-/}" | awk 'NR == 2 { print $4 }') * 1024))"
}

full() {
	rm -f -- "$part"
	echo "full $(free)"
	exit 0
}

case $step in
look)
	mkdir -p -- "${dir:-/}" || exit 1
	if [ -f "$target" ] && [ "$(count "$target")" = "$size" ] && [ "$(sum_of "$target")" = "$sum" ]; then
		chmod -- "$mode" "$target" && rm -f -- "$part" && echo done
		exit
	fi
	have=$(count "$part")
	[ "$have" -le "$size" ] || { rm -f -- "$part" && have=0; }
	[ "$(free)" -ge "$((size - have))" ] || full
	echo "have $have"
	;;
add)
	umask 077
	exec 9>>"$part" || exit 1
	tries=0
	while ! flock -n 9; do # the writer of a connection that was lost may not know of it yet
		before=$(count "$part")
		sleep 1
		tries=$((tries + 1))
		if [ "$before" = "$(count "$part")" ]; then
			writer=$(cat "$part.pid") && tr '\0' '\n' <"/proc/$writer/cmdline" | grep -qxF -- "$sum" && kill -s KILL "$writer"
		fi
		[ "$tries" -lt 10 ] || { echo busy && exit 0; }
	done
	[ "$(count "$part")" = "$offset" ] || { echo moved && exit 0; }
	echo "$$" >"$part.pid"
	if ! cat >&9; then
		rm -f -- "$part.pid"
		[ "$(free)" -ge "$((size - $(count "$part")))" ] || full
		exit 1
	fi
	if [ "$(sum_of "$part")" != "$sum" ]; then
		rm -f -- "$part" "$part.pid"
		echo differs
		exit
	fi
	chmod -- "$mode" "$part" && { sync -- "$part" 2>/dev/null || sync; } && mv -f -- "$part" "$target" && rm -f -- "$part.pid" && echo done
	;;
esac
