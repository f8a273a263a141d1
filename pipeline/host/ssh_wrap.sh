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
# what a login by ssh often does not have on its PATH: it counts behind what is there
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${HOME:-/}/.nix-profile/bin
PATH=$PATH:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin:/run/wrappers/bin:/var/lib/rancher/rke2/bin
export PATH

finish() {
	printf '%s %s\n' "$token" "$1"
	printf '%s %s\n' "$token" "$1" >&4
	exit 0
}

hang_up() {
	# by the time of this call the number could be another's
	tr '\0' '\n' <"/proc/$$/cmdline" | grep -qxF -e "$token" && kill -s HUP "$$"
}

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
			while hang_up; do sleep 0.1; done # and hold the command's stdin open for as long
			exit
		fi
	else # the command did not want all of it
		exec >/dev/null
		cat
		hang_up
		exit
	fi
	exec >/dev/null
	IFS= read -r line && [ "$line" = "$token" ] || hang_up
}

end() {
	trap '' HUP
	kill -0 "$pid" || exit 0
	kill -s TERM -- "-$pid" "$pid"
	count=0
	while kill -0 "$pid" && [ "$count" -lt 100 ]; do # five seconds to end by itself; sleep reaps it too
		sleep 0.05
		count=$((count + 1))
	done
	kill -s KILL -- "-$pid"
	finish ended
}

exec 3<&0 4>&2
[ -z "$dir" ] || cd -- "$dir" || finish 125
pid= gone=
trap 'gone=yes; [ -z "$pid" ] || end' HUP
# the feeder stands behind a process that has ended, since waiting for a command means waiting for all of its pipeline
{ feed <&3 4>&- & } | setsid "$@" 3<&- 4>&- &
pid=$!
exec 2>/dev/null
[ -z "$gone" ] || end
wait "$pid"
finish "$?"
