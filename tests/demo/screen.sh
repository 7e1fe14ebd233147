# shellcheck shell=bash
# What the demo shows: steps with their times, the commands that a user would type, the guest's console.
# Sourced, never run.
# shellcheck disable=SC2034  # for the scripts that source this

# shellcheck source=tests/setup/debian.sh
. tests/setup/debian.sh

DEMO=$PWD/.demo # logs of the steps and, without containers, everything else
LOG=$DEMO/log
TICK=10 # seconds between two signs of life of a long step
# What the small guest prints, and what the demo's cloud-config makes others print; else cloud-init's last words.
READY='GUEST-READY hostname=[a-z0-9.-]+ address=[0-9a-f.:]+|Cloud-init.* finished'

note() { printf '   %s\n' "$*"; }

# step WHAT COMMAND...: its output goes to the log, and its last line there is shown from time to time.
step() {
    local what=$1 started=$SECONDS pid ticker status=0
    shift
    printf '== %s\n' "$what"
    printf '\n== %s\n' "$what" >>"$LOG"
    ("$@") >>"$LOG" 2>&1 &
    pid=$!
    tick &
    ticker=$!
    wait "$pid" || status=$?
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        tail -n 15 "$LOG" >&2
        die "$status" "this step failed (status $status); all of its output is in $LOG"
    fi
    [ $((SECONDS - started)) -lt 2 ] || note "$((SECONDS - started)) s"
}

tick() {
    trap 'kill "$!" 2>/dev/null; exit' TERM
    while :; do
        sleep "$TICK" &
        wait "$!"
        note "... $(tail -n 1 "$LOG" | tr -d '\r' | cut -c1-100)"
    done
}

# type_in COMMAND...: show the command in a form that can be pasted, and run it.
type_in() {
    printf '   $ %s\n' "$(quoted "$@")"
    "$@" >>"$LOG"
}

# type_in_file FILE COMMAND...: the same, with the file as its input.
type_in_file() {
    local file=$1
    shift
    printf '   $ %s <%s\n' "$(quoted "$@")" "$file"
    "$@" <"$file" >>"$LOG"
}

# Quotes only where they are needed: %q alone would make a plain word hard to read.
quoted() {
    local word line=''
    for word; do
        [[ $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]] || word=$(printf '%q' "$word")
        line+="$word "
    done
    printf '%s' "${line% }"
}

# follow SECONDS COMMAND...: show what the command prints until the guest says that it is ready. That
# line is in $ready then.
follow() {
    local deadline=$((SECONDS + $1)) line follower
    shift
    ready=
    exec {console}< <(exec "$@" 2>&1)
    follower=$!
    while read -r -t $((deadline > SECONDS ? deadline - SECONDS : 1)) -u "$console" line; do
        line=$(plain "$line")
        printf '   | %s\n' "$line"
        if [[ $line =~ $READY ]]; then
            ready=$line
            break
        fi
        [ "$SECONDS" -lt "$deadline" ] || break
    done
    kill "$follower" 2>/dev/null || true
    exec {console}<&-
    [ -z "$ready" ] || return 0
    [ "$SECONDS" -lt "$deadline" ] || die 1 "the guest did not get ready in time"
    die 1 "the launcher has ended before the guest was ready"
}

# Without colours and carriage returns, which firmware and systemd write to a console.
plain() {
    local line=${1//$'\r'/}
    while [[ $line =~ ^(.*)$'\e'\[[0-9\;?=]*[a-zA-Z](.*)$ ]]; do
        line=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
    done
    printf '%s' "${line//$'\e'/}"
}
