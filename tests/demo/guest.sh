# shellcheck shell=bash
# Which guest the demo boots: GUEST=busybox (the default), debian, a URL or a path. Sourced, never run.
# shellcheck disable=SC2034  # for the scripts that source this

GUEST=${GUEST:-busybox}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast

case $GUEST in
busybox) ram=256 seconds=120 ;;
*) ram=1024 seconds=600 ;; # systemd and cloud-init, perhaps without KVM
esac

# fetch_guest: sets $image, a disk image on this machine, and $volume, its name where VMs find it.
# The name changes with the image's content: a changed guest is another disk.
fetch_guest() {
    case $GUEST in
    busybox | debian) build_guest ;;
    http://* | https://*) download_guest ;;
    *) find_guest ;;
    esac
}

build_guest() {
    step "the guest: tests/guest/$GUEST" build_into "$DEMO/guest"
    image=$(find "$(cat "$DEMO/guest")" -name disk.raw -o -name disk.qcow2)
    volume=$(basename "$(dirname "$image")").raw
}

build_into() { "tests/guest/$GUEST" >"$1"; }

download_guest() {
    local name
    name=$(basename "${GUEST%%\?*}")
    image=$CACHE/download/$name
    step "the guest: $GUEST, kept in $CACHE/download" download "$image"
    volume=$(volume_of "$image")
}

# A download that broke off must not pass for a whole one.
download() {
    [ ! -e "$1" ] || return 0
    mkdir -p "$(dirname "$1")"
    curl --fail --location --silent --show-error --output "$1.part" "$GUEST"
    mv "$1.part" "$1"
}

find_guest() {
    [ -f "$GUEST" ] || die 64 "GUEST=$GUEST: there is no such file (or say busybox, debian or a URL)"
    image=$(realpath "$GUEST")
    volume=$(volume_of "$image")
}

volume_of() {
    local stamp
    stamp=$(stat -c '%n %s %Y' "$1" | sha256sum | cut -c1-8)
    printf '%s-%s.raw' "$(basename "$1" | sed 's/\.[a-z0-9]*$//; s/[^A-Za-z0-9._-]/-/g')" "$stamp"
}
