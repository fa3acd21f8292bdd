#!/bin/sh
# Acts like the server its image is named for: wants its settings, makes its data
# its user's and becomes that user, writes a pid file, listens, and ends when told.
# S_… say what is wanted; the image's configuration sets them.
if [ -n "$S_NEEDS" ] && ! env | grep -q "^$S_NEEDS=."; then
	echo "$S_NAME: $S_NEEDS is not set" >&2
	exit 1
fi
if [ -n "$S_CONF" ] && [ ! -r "$S_CONF" ]; then
	echo "$S_NAME: no $S_CONF" >&2
	exit 1
fi
if [ -n "$S_USER" ] && [ "$(id -u)" = 0 ]; then
	[ -z "$S_DATA" ] || chown -R "$S_USER" "$S_DATA" || exit 1
	exec su -m -s /usr/local/bin/serve "$S_USER" -- "$@"
fi
if [ -n "$S_DATA" ]; then
	echo "started $(date)" >> "$S_DATA/log" || exit 1
fi
[ -z "$S_PID" ] || echo $$ > "$S_PID" || exit 1
trap 'echo "$S_NAME: ends"; kill $jobs; exit 0' TERM INT
trap 'echo "$S_NAME: reloads"' HUP
for port in $S_PORTS $PORT; do
	nc -ll -p "$port" -e /usr/local/bin/answer &
	jobs="$jobs $!"
done
[ -z "$NEEDS_HOST" ] || echo "api's $NEEDS_HOST answers: $(nc -w 5 "$NEEDS_HOST" 11211 < /dev/null)"
echo "$S_NAME: ready as $(id -u) with $*"
while :; do
	sleep 1000 &
	wait $!
done
