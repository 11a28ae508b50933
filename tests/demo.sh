#!/usr/bin/env bash
# A swarm on this machine, step by step: what `make demo` plays.
#
# Key, tracker, three peers on 127.0.0.11-13 with two copies of everything,
# three mounts.  Each step says what it does; any difference ends it non-zero.
# KEEP=1 leaves the folder mounted.  Everything lives in one directory under
# $TMPDIR and is gone at the end.
set -euo pipefail

KEEP=${KEEP:-}
PORT=${DEMO_PORT:-24560}
DIR=$(mktemp -d "${TMPDIR:-/tmp}/pspfs-demo.XXXXXX")
TRACKER=127.0.0.1:$PORT
KEY=$DIR/swarm.key
declare -A PID
step=0

say() { step=$((step + 1)); printf '\n%2d. %s\n' "$step" "$*"; }
note() { printf '    %s\n' "$*"; }
fail() { printf '\ndemo: FAILED: %s\n' "$*" >&2; exit 1; }
took() { printf '    (%s s)\n' "$(awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN{printf "%.1f", b-a}')"; }

# Wait up to $1 seconds for the rest of the words to succeed.
within() {
	local left=$(($1 * 20)); shift
	until "$@" >/dev/null 2>&1; do
		left=$((left - 1)); [ "$left" -gt 0 ] || return 1
		sleep 0.05
	done
}
gone() { ! kill -0 "$1" 2>/dev/null; }

start_peer() {	# $1: 1..3
	mkdir -p "$DIR/mnt$1"
	mount.pspfs "$TRACKER" "$DIR/mnt$1" --foreground --log "$DIR/peer$1.log" \
		-o "key=$KEY,addr=127.0.0.1$1,store=$DIR/store$1,capacity=4G" \
		</dev/null >>"$DIR/peer$1.log" 2>&1 &
	PID[$1]=$!
	within 15 mountpoint -q "$DIR/mnt$1" || { cat "$DIR/peer$1.log" >&2; fail "peer $1 did not mount"; }
}
stop() {	# a pid that we started, politely, then not
	kill "$1" 2>/dev/null || return 0
	within 15 gone "$1" || kill -9 "$1" 2>/dev/null || true
	wait "$1" 2>/dev/null || true
}
clean_up() {
	trap - EXIT INT TERM
	for i in 1 2 3; do
		if mountpoint -q "$DIR/mnt$i" 2>/dev/null || ! stat "$DIR/mnt$i" >/dev/null 2>&1; then
			umount "$DIR/mnt$i" 2>/dev/null || umount -l "$DIR/mnt$i" 2>/dev/null || true
		fi
	done
	for p in "${PID[@]}"; do stop "$p"; done
	rm -rf --one-file-system "$DIR"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

same_tree() { diff -r --no-dereference "$1" "$2" >"$DIR/diff" || { head "$DIR/diff" >&2; fail "$1 and $2 differ"; }; }
same_file() { cmp -- "$1" "$2" || fail "$1 and $2 differ"; }
status() { pspfs --tracker "$TRACKER" --key "$KEY" "$@"; }

[ -e /dev/fuse ] || fail "/dev/fuse is missing: modprobe fuse, or in a container run with --device /dev/fuse"
begin=$(date +%s.%N)

say "A tracker on $TRACKER: it makes the swarm's key and keeps two copies of every chunk"
psptrackerd --foreground --listen "$TRACKER" --data "$DIR/tracker" --key "$KEY" \
	--copies 2 --log "$DIR/tracker.log" </dev/null >>"$DIR/tracker.log" 2>&1 &
PID[t]=$!
within 10 test -s "$KEY" || { cat "$DIR/tracker.log" >&2; fail "the tracker made no key"; }

say "Three peers on 127.0.0.11-13, each shows the folder and lends its disk"
for i in 1 2 3; do start_peer $i; done
status status

say "Copying /usr/include in through the first mount ($(find /usr/include -type f | wc -l) files)"
t=$(date +%s.%N); cp -a /usr/include "$DIR/mnt1/include"; took "$t"

say "Comparing it through the second mount"
t=$(date +%s.%N); same_tree /usr/include "$DIR/mnt2/include"; took "$t"; note "the same"

say "A file of 256 MiB in through the first mount, compared through the second and third"
head -c 256M /dev/urandom >"$DIR/big"
t=$(date +%s.%N); cp "$DIR/big" "$DIR/mnt1/big"; took "$t"
for i in 2 3; do t=$(date +%s.%N); same_file "$DIR/big" "$DIR/mnt$i/big"; note "mount $i: the same"; took "$t"; done

say "Where the chunks of a small file lie"
head -c 1300000 "$DIR/big" >"$DIR/mnt2/small"
status info "$DIR/mnt2/small"

say "Flipping bytes in a stored chunk of it, behind the peer's back"
id=$(status --json info "$DIR/mnt2/small" | sed -n 's/.*"id": *"\([0-9a-f]*\)".*/\1/p' | head -1)
[ -n "$id" ] || fail "info --json names no chunk"
victim=""
for i in 1 2 3; do
	f=$DIR/store$i/chunks/${id:12:2}/$id.chunk
	[ -z "$victim" ] && [ -e "$f" ] && victim=$i && printf 'CORRUPTED' | dd of="$f" bs=1 seek=100 conv=notrunc status=none
done
[ -n "$victim" ] || fail "no store holds chunk $id"
note "chunk $id at 127.0.0.1$victim is damaged; peer $victim is restarted, so that no memory remembers it"
umount "$DIR/mnt$victim"; within 15 gone "${PID[$victim]}" || fail "peer $victim did not end"
wait "${PID[$victim]}" || fail "peer $victim ended with an error"
start_peer "$victim"
head -c 1300000 "$DIR/big" | cmp - "$DIR/mnt$victim/small" || fail "the damaged chunk was served"
note "read right all the same; the peer says:"
grep -h -i corrupt "$DIR/peer$victim.log" | tail -2 | sed 's/^/      /' || fail "nothing was said of the corrupt chunk"
grep -q -i corrupt "$DIR/peer$victim.log" || fail "nothing was said of the corrupt chunk"

say "Killing peer 3 with -9, then reading everything again through the second mount"
kill -9 "${PID[3]}"; wait "${PID[3]}" 2>/dev/null || true
umount -l "$DIR/mnt3"
t=$(date +%s.%N)
same_tree /usr/include "$DIR/mnt2/include"
same_file "$DIR/big" "$DIR/mnt2/big"
took "$t"; note "nothing is missing"

say "Writing more while it is dead"
t=$(date +%s.%N)
cp -a /usr/include/linux "$DIR/mnt1/linux-again"
same_tree /usr/include/linux "$DIR/mnt2/linux-again"
took "$t"

say "Starting it again: it sees what was written meanwhile"
start_peer 3
same_tree /usr/include/linux "$DIR/mnt3/linux-again"
note "the same"
status status

if [ -n "$KEEP" ]; then
	trap - EXIT
	printf '\nThe folder stays at %s, %s and %s.\n' "$DIR"/mnt1 "$DIR"/mnt2 "$DIR"/mnt3
	printf 'To look: pspfs --tracker %s --key %s status\n' "$TRACKER" "$KEY"
	printf 'To end it: umount %s/mnt1 %s/mnt2 %s/mnt3; kill %s; rm -r %s\n' "$DIR" "$DIR" "$DIR" "${PID[t]}" "$DIR"
	disown -a
	exit 0
fi

say "Unmounting; the tracker stops"
for i in 1 2 3; do
	umount "$DIR/mnt$i"; within 15 gone "${PID[$i]}" || fail "peer $i did not end"
	wait "${PID[$i]}" || fail "peer $i ended with an error"
done
kill "${PID[t]}"; wait "${PID[t]}" || fail "the tracker ended with an error"
PID=()
grep -q "$DIR" /proc/self/mounts && fail "a mount was left behind"
rm -rf --one-file-system "$DIR"
[ ! -e "$DIR" ] || fail "files were left behind"
trap - EXIT
printf '\ndemo: all well, %s s\n' "$(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN{printf "%.0f", b-a}')"
