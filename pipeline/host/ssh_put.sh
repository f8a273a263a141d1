# Receives one file for SshHost.put: sh -c THIS put look|add TARGET SUM SIZE OFFSET MODE
#
# The part's name holds the content's sum, so that what an earlier try left can only belong to the same content. Only the holder of the
# part's lock writes to it, removes it or puts it in place; whoever gets the lock looks whether the part still bears its name, since
# the one before may have put it in place.
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

in_place() {
	[ -f "$target" ] && [ "$(count "$target")" = "$size" ] && [ "$(sum_of "$target")" = "$sum" ] && chmod -- "$mode" "$target"
}

remove_unused() {
	flock -n "$part" rm -f -- "$part" "$part.pid"
}

case $step in
look)
	mkdir -p -- "${dir:-/}" || exit 1
	# what a killed writer left that nobody came back for
	hex='[0-9a-f][0-9a-f][0-9a-f][0-9a-f]'
	find "${dir:-/}" -maxdepth 1 -type f -mtime +0 -name ".*.$hex$hex$hex$hex.part*" -exec rm -f -- {} + 2>/dev/null
	if in_place; then
		remove_unused
		echo done
		exit
	fi
	have=$(count "$part")
	[ "$have" -le "$size" ] || have=0
	if [ "$(free)" -lt "$((size - have))" ]; then
		remove_unused
		echo "full $(free)"
		exit
	fi
	echo "have $have"
	;;
add)
	umask 077
	still=0
	while :; do
		exec 9>>"$part" || exit 1
		before=$(count "$part")
		if flock -n 9; then
			in_place && rm -f -- "$part" "$part.pid" && echo done && exit
			[ "$part" -ef /proc/self/fd/9 ] && break
			continue
		fi
		sleep 0.2
		still=$((still + 1))
		[ "$before" = "$(count "$part")" ] || still=0
		[ "$still" -lt 75 ] || { echo busy && exit; }
		if [ "$still" -ge 25 ]; then # five seconds: the writer of a connection that was lost may not know of it yet
			{ writer=$(cat "$part.pid") && tr '\0' '\n' <"/proc/$writer/cmdline" | grep -qxF -- "$sum" && kill -s KILL -- "-$writer"; } 2>/dev/null
		fi
	done
	[ "$(count "$part")" -le "$size" ] || : >"$part"
	[ "$(count "$part")" = "$offset" ] || { echo moved && exit; }
	echo "$$" >"$part.pid"
	if ! cat >&9; then
		if [ "$(free)" -lt "$((size - $(count "$part")))" ]; then
			rm -f -- "$part" "$part.pid"
			echo "full $(free)"
			exit
		fi
		rm -f -- "$part.pid"
		exit 1
	fi
	[ "$part" -ef /proc/self/fd/9 ] || { echo moved && exit; }
	rm -f -- "$part.pid"
	if [ "$(sum_of "$part")" != "$sum" ]; then
		rm -f -- "$part"
		echo differs
		exit
	fi
	chmod -- "$mode" "$part" && { sync -- "$part" 2>/dev/null || sync; } && mv -f -- "$part" "$target" && echo done
	;;
esac
