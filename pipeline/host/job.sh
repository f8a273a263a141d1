# Detached work: sh -c THIS job VERB DIR TOKEN OFFSET [CWD WORD...]
#
# DIR holds one job. `lock` is held by the kernel for as long as anything of the job lives; `log` is its output; `begun` says its process
# number, when that process and the machine began, and when it was; `code` is a link whose target is the exit code: a link is there
# whole or not at all, on a full disk too.
verb=$1 dir=$2 token=$3 offset=$4
shift 4

for tool in flock setsid; do
	command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2 && exit 69; }
done

# One of: absent | running | finished CODE | died killed | died restart
phase() {
	if [ -h code ]; then
		echo "finished $(readlink code)"
	elif [ ! -e lock ]; then
		echo absent
	elif ! flock -n lock true; then
		echo running
	elif [ -h code ]; then # it ended between the two looks
		echo "finished $(readlink code)"
	elif [ -e cancelled ]; then # whoever cancels may be slower to write the code down than the next to look
		echo 'finished 143'
	elif [ ! -e begun ]; then
		echo absent
	else
		read -r _ _ boot _ <begun
		read -r now </proc/sys/kernel/random/boot_id
		[ "$boot" = "$now" ] && echo 'died killed' || echo 'died restart'
	fi
}

# field NUMBER of a process's stat, counted behind its name, which may hold blanks
field() {
	read -r line <"/proc/$2/stat" || return
	set -f
	want=$1
	# shellcheck disable=SC2086
	set -- ${line##*) }
	shift "$((want - 3))"
	echo "$1"
	set +f
}

start() {
	mkdir -p -- "$dir" && cd -- "$dir" && exec 9>>lock || exit 73
	[ ! -h code ] || return 0
	tries=0
	until flock -n 9; do # it runs already; or somebody else is starting it or looking at it right now
		[ ! -e begun ] && [ ! -h code ] && [ "$tries" -lt 100 ] || return 0
		sleep 0.05
		tries=$((tries + 1))
	done
	[ ! -h code ] || return 0
	rm -f begun cancelled
	: >log || exit 73
	export PIPELINE_JOB="$dir/"
	# shellcheck disable=SC2016
	setsid sh -c '
		cwd=$1
		shift
		tries=0
		until [ -e begun ]; do # whoever starts this may be killed before it has written that down
			[ "$tries" -lt 500 ] || exit
			tries=$((tries + 1))
			sleep 0.01
		done
		[ -z "$cwd" ] || cd -- "$cwd" || { ln -s 125 "${PIPELINE_JOB}code" && exit; }
		(exec "$@")
		ln -s "$?" "${PIPELINE_JOB}code"' job "$@" </dev/null >>log 2>&1 &
	read -r boot </proc/sys/kernel/random/boot_id
	echo "$! $(field 22 "$!") $boot $(date +%s)" >begun.new && mv begun.new begun || { kill "$!" && exit 73; }
}

# Whether process $pid runs. One that has ended may be kept in the list for ever where the first process is no init.
alive() {
	read -r line <"/proc/$pid/stat" || return
	case ${line##*) } in Z*) return 1 ;; esac
}

follow() {
	cd -- "$dir" && [ -e log ] && exec 3<log || { printf '\n%s end absent\n' "$token" && return; }
	[ "$offset" = 0 ] || dd bs=1 skip="$offset" count=0 <&3
	last=$offset idle=0 age=0 pid=
	while :; do
		[ -n "$pid" ] || read -r pid _ <begun
		now=running
		# look at the job first and read its log second, so that nothing it wrote in the end is missed
		if [ -h code ] || ! alive || [ "$idle" -ge 10000 ]; then now=$(phase); fi
		dd bs=65536 count=64 <&3 || return
		read -r _ here </proc/self/fdinfo/3
		if [ "$here" != "$last" ] || [ "$idle" -ge 10000 ]; then
			printf '\n%s %s\n' "$token" "$here"
			much=$((here - last)) last=$here idle=0
			[ "$much" -lt 4194304 ] || continue
			[ "$now" = running ] || continue
		elif [ "$now" != running ]; then
			printf '\n%s end %s\n' "$token" "$now"
			return
		fi
		if [ "$age" -lt 400 ]; then pause=20; elif [ "$age" -lt 5000 ]; then pause=50; else pause=250; fi # a short job is not made long
		sleep "0.$(printf %03d "$pause")"
		age=$((age + pause)) idle=$((idle + pause))
	done
} 2>/dev/null

# All that belongs to the job: its session, and what left that but still carries its mark
members() {
	for stat in /proc/[0-9]*/stat; do
		read -r line <"$stat" || continue
		number=${line%% *}
		# shellcheck disable=SC2086
		set -- ${line##*) }
		[ "$1" != Z ] || continue
		if [ "$4" = "$leader" ]; then
			echo "$number"
			continue
		fi
		shift 19
		[ "$1" -ge "$began" ] && tr '\0' '\n' <"/proc/$number/environ" | grep -qxF -e "PIPELINE_JOB=$dir/" && echo "$number"
	done
} 2>/dev/null

cancel() {
	cd -- "$dir" 2>/dev/null || return 0
	read -r leader began _ <begun || leader=none began=0
	[ "$(field 22 "$leader" 2>/dev/null)" = "$began" ] || [ ! -e "/proc/$leader" ] || leader=none # its number is another's by now
	[ -h code ] || : >cancelled
	first=$(date +%s) signal=TERM
	while found=$(members); [ -n "$found" ]; do
		took=$(($(date +%s) - first))
		[ "$took" -lt 15 ] || exit 70
		[ "$took" -lt 5 ] || signal=KILL
		# shellcheck disable=SC2086
		kill -s "$signal" $found 2>/dev/null
		sleep 0.1
	done
	[ -h code ] || ln -s 143 code
}

# Out of the way, so that the name is free: the job's log stays readable
retire() {
	cd -- "$dir" 2>/dev/null || return 0
	[ "$(phase)" != running ] || exit 75
	old=${dir%/*}/.last
	mkdir -p -- "$old" && rm -rf -- "$old/${dir##*/}" && mv -- "$dir" "$old/"
}

case $verb in
start) start "$@" ;;
follow) follow ;;
run)
	start "$@"
	exec 9>&-
	follow
	;;
state)
	cd -- "$dir" 2>/dev/null || { echo absent && exit; }
	phase
	cat begun 2>/dev/null
	:
	;;
cancel) cancel ;;
retire) retire ;;
forget) retire && rm -rf -- "${dir%/*}/.last/${dir##*/}" ;;
esac
