# Runs one command for SshHost: sh -c THIS wrap TOKEN SIZE DIR WORD...
#
# stdout and stderr each open with the TOKEN, so that what a login shell prints first can be told apart, and end with it and the
# command's own exit code, so that no code of the transport can be taken for it. stdin carries SIZE bytes for the command and the
# TOKEN on a line; when all is over the TOKEN again. If stdin ends before that, the client is gone or wants no more, and the command
# is ended with all that it started.
token=$1 size=$2 dir=$3
shift 3
printf '%s\n' "$token"
printf '%s\n' "$token" >&2

if [ -n "$dir" ] && ! cd -- "$dir"; then
	set -- sh -c 'exit 125'
fi

feed() {
	exec 2>/dev/null
	blocks=$((size / 65536)) rest=$((size % 65536))
	# dd, since head may read ahead and take the TOKEN with it
	if
		{ [ "$blocks" = 0 ] || dd bs=65536 count="$blocks" iflag=fullblock; } &&
			{ [ "$rest" = 0 ] || dd bs="$rest" count=1 iflag=fullblock; }
	then
		# the command sees the end of its input once all of it has come: half a manifest must not look like a whole one
		IFS= read -r line
		if [ "$line" != "$token" ]; then
			kill -s HUP "$$"
			sleep 10
			exit
		fi
	else # the command did not want all of it
		exec >/dev/null
		cat
		kill -s HUP "$$"
		exit
	fi
	exec >/dev/null
	over=
	while IFS= read -r line; do
		[ "$line" != "$token" ] || over=yes
	done
	[ -n "$over" ] || kill -s HUP "$$"
}

end() {
	trap '' HUP
	exec 2>/dev/null
	kill -0 "$pid" || exit 0
	kill -s TERM -- "-$pid" "$pid"
	count=0
	while kill -0 "$pid" && [ "$count" -lt 100 ]; do # five seconds to end by itself; sleep reaps it too
		sleep 0.05
		count=$((count + 1))
	done
	kill -s KILL -- "-$pid"
	exec 2>&4
	printf '%s ended\n' "$token"
	printf '%s ended\n' "$token" >&2
	exit 0
}

exec 3<&0 4>&2
pid= gone=
trap 'gone=yes; [ -z "$pid" ] || end' HUP
# shellcheck disable=SC2016
feed <&3 | setsid sh -c '
	token=$1
	shift
	trap : TERM # outlives the command, for its last words
	(exec "$@" 3<&- 4>&-)
	code=$?
	printf "%s %s\n" "$token" "$code"
	printf "%s %s\n" "$token" "$code" >&2' wrap "$token" "$@" 3<&- 4>&- &
pid=$!
[ -z "$gone" ] || end
wait
