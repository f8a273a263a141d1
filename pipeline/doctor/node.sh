# Prints what the cluster's node sees of a registry: sh -c THIS look REGISTRY REALM CRICTL...   (host:port, "-" where there is none)
registry=$1 realm=$2
shift 2
export LC_ALL=C
printf 'now %s\n' "$(date +%s)"
printf 'system %s\n' "$(uname -sm)"
for folder in /var/lib/rancher /var/lib/containerd /var/lib; do
	[ -d "$folder" ] || continue
	printf 'disk %s %s\n' "$(df -Pk "$folder" | awk 'END { print $4 }')" "$folder"
	break
done

said=$("$@" images 2>&1 >/dev/null)
printf 'crictl %s\n' "$?"
printf '%s\n' "$said" | tail -n 3 | sed 's/^/crictl-said /'

connects() { # opens a connection and sends nothing
	host=${1%:*} port=${1##*:}
	host=${host#[} host=${host%]}
	if command -v bash >/dev/null 2>&1; then
		timeout 2 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port" </dev/null >/dev/null 2>&1
	elif command -v curl >/dev/null 2>&1; then
		# it waits for the other side to speak: what counts is whether there was a connection
		case $(curl --silent --noproxy '*' --connect-timeout 2 --max-time 2 --write-out '%{time_connect}' "telnet://$1" </dev/null 2>/dev/null) in
		'' | 0.000000 | 0,000000) return 1 ;;
		esac
	elif command -v nc >/dev/null 2>&1; then
		# a peer that stays silent is connected all the same, and ended by timeout (124, of busybox 143)
		timeout 3 nc -w 2 "$host" "$port" </dev/null >/dev/null 2>&1
		case $? in
		0 | 124 | 143) return 0 ;;
		esac
		return 1
	else
		return 99
	fi
}
tried() { # NAME HOST:PORT
	connects "$2"
	case $? in
	0) echo "$1 answers" ;;
	99) echo "$1 untried" ;;
	*) echo "$1 silent" ;;
	esac
}
[ "$registry" = - ] || tried registry "$registry"
if [ "$realm" != - ]; then
	if command -v getent >/dev/null 2>&1; then
		printf 'resolved %s\n' "$(getent hosts "${realm%:*}" | awk 'NR == 1 { print $1 }')"
	fi
	tried realm "$realm"
fi

[ "$registry" = - ] && exit 0
whole() { # NAME FILE, without the passwords in it
	printf '%s %s ' "$1" "$2"
	sed -e "s/\\(password[\"']*:\\)[[:space:]]*[^,}]*/\\1 x/g" -e "s/\\(token[\"']*:\\)[[:space:]]*[^,}]*/\\1 x/g" \
		-e "s/\\(auth[\"']*:\\)[[:space:]]*[^{,}[:space:]][^,}]*/\\1 x/g" <"$2" | base64 | tr -d '\n'
	echo
}
if [ -d /etc/rancher/k3s ] && [ -w /etc/rancher/k3s ]; then echo "k3s /etc/rancher/k3s"; fi
for file in /etc/rancher/k3s/registries.yaml /etc/rancher/rke2/registries.yaml; do
	if [ -r "$file" ]; then whole registries "$file"; elif [ -e "$file" ]; then echo "closed $file"; fi
done
# where the runtime that runs here has its configuration
for process in /proc/[0-9]*; do
	[ "$(cat "$process/comm" 2>/dev/null)" = containerd ] || continue
	tr '\0' '\n' <"$process/cmdline" 2>/dev/null | sed -n -e '/^-c$/{n;p;}' -e '/^--config$/{n;p;}' -e 's/^--config=//p'
done | {
	cat
	echo /etc/containerd/config.toml
	echo /var/lib/rancher/k3s/agent/etc/containerd/config.toml
	echo /var/lib/rancher/rke2/agent/etc/containerd/config.toml
} | sort -u | while IFS= read -r conf; do
	[ -r "$conf" ] || continue
	if grep -qF "$registry" "$conf"; then echo "named $conf"; fi
	sed -n "s/^[[:space:]]*config_path *= *[\"']\\([^\"']*\\)[\"'].*/\\1/p" "$conf" | tr ':' '\n'
done | sort -u | while IFS= read -r line; do
	case $line in
	'') continue ;;
	named\ *) echo "$line"; continue ;;
	esac
	echo "folder $line"
	for file in "$line/$registry/hosts.toml" "$line/${registry%:*}_${registry##*:}_/hosts.toml" "$line/_default/hosts.toml"; do
		if [ -r "$file" ]; then whole hosts "$file"; fi
	done
done
exit 0
