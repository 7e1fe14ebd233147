# shellcheck shell=bash
# What the two guest recipes share: tools, cache, boot disk. Sourced, never run.
# stdout carries one line, the path of the finished directory; everything else goes to stderr.

PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
BOOT_START=2048 # first sector of the boot partition; the gap before it belongs to the guest
MBR=/usr/lib/syslinux/mbr/mbr.bin
# shellcheck disable=SC2034  # for the recipes
TOOLS=(cpio=cpio depmod=kmod xz=xz-utils sfdisk=fdisk mcopy=mtools syslinux=syslinux "$MBR=syslinux-common")

say() { printf '%s: %s\n' "$KIND" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# output KIND FILE...: where the guest built from exactly these files belongs
output() {
    local hash
    hash=$(cat "${@:2}" | sha256sum | cut -c1-16)
    printf '%s/holdfast/guest-%s-%s\n' "${XDG_CACHE_HOME:-$HOME/.cache}" "$1" "$hash"
}

# Packages are known only after an update in a fresh container.
update_apt() {
    [[ $(apt-cache policy linux-image-cloud-amd64 2>/dev/null) == *Candidate:* ]] && return
    [[ ${NO_INSTALL:-} == 1 ]] && die "no package lists; run: apt-get update"
    say "reading package lists"
    apt-get -q update >&2
}

# need COMMAND-OR-FILE=PACKAGE...
need() {
    local item missing=()
    for item; do
        [[ -e ${item%%=*} ]] || command -v "${item%%=*}" >/dev/null || missing+=("${item#*=}")
    done
    ((${#missing[@]})) || return 0
    local install=(apt-get install -y --no-install-recommends "${missing[@]}")
    [[ ${NO_INSTALL:-} == 1 ]] && die "tools are missing; run: ${install[*]}"
    update_apt
    say "installing ${missing[*]}"
    "${install[@]}" >&2
}

# The newest cloud kernel that the machine's own apt sources have
cloud_kernel() {
    update_apt
    apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}' | grep . ||
        die "apt knows no linux-image-cloud-amd64: the guests need an amd64 Debian"
}

# unpack PACKAGE DIRECTORY
unpack() {
    update_apt
    say "fetching $1"
    mkdir "$2"
    # apt's own user cannot write here.
    (cd "$2" && apt-get -q -o APT::Sandbox::User=root download "$1" >&2 && dpkg-deb -x ./*.deb . && rm ./*.deb)
}

# copy_busybox PACKAGE-ROOT ROOT: the start of an initrd
copy_busybox() {
    mkdir -p "$2"/{bin,dev,lib,mnt,proc,sbin,sys}
    install -m 755 "$(find "$1" -type f -path '*bin/busybox')" "$2/bin/busybox"
    ln -s busybox "$2/bin/sh"
}

# copy_modules KERNEL-ROOT ROOT VERSION MODULE...: the modules and what they depend on, unpacked, for the
# initrd is compressed as a whole. A module that this kernel lacks or has built in is left out.
copy_modules() {
    local kernel=$1 root=$2 version=$3 name path
    # The package of trixie fills usr/lib, that of bookworm lib.
    [[ -e $kernel/lib ]] || ln -s usr/lib "$kernel/lib"
    depmod -b "$kernel" "$version"
    mkdir -p "$root/lib/modules/$version"
    for name in "${@:4}"; do
        modprobe -d "$kernel" -S "$version" --show-depends "$name" 2>/dev/null || say "no module $name"
    done | awk '$1 == "insmod" {print $2}' | sort -u | while read -r path; do
        cp "$path" "$root/lib/modules/$version/"
    done
    find "$root/lib/modules" -name '*.xz' -exec unxz {} +
    : >"$root/lib/modules/$version/modules.order"
    cp "$kernel/lib/modules/$version/modules.builtin"* "$root/lib/modules/$version/"
    depmod -b "$root" "$version"
    # busybox reads the text files only
    rm -f "$root/lib/modules/$version/modules."{*.bin,builtin*,order,softdep,symbols,devname,weakdep}
}

# pack ROOT INITRD
pack() { (cd "$1" && find . | sort | cpio -o -H newc -R 0:0 --quiet) | gzip -9 >"$2"; }

# boot_disk FILE MIB CMDLINE [MORE-PARTITIONS]: FILE gets an MBR and an active FAT partition of so many
# MiB, from which SeaBIOS starts syslinux. vmlinuz and initrd.img lie beside FILE. No loop device, no mount.
boot_disk() {
    local disk=$1 sectors=$(($2 * 2048)) here
    here=$(dirname "$disk")
    printf '%s\n' 'label: dos' "start=$BOOT_START, size=$sectors, type=e, bootable" "${4:-}" |
        sfdisk -q --no-reread --no-tell-kernel "$disk" >&2
    dd if="$MBR" of="$disk" bs=440 count=1 conv=notrunc status=none
    # -H: syslinux finds its sectors through the BPB's count of hidden sectors
    mformat -i "$disk@@$((BOOT_START * 512))" -T "$sectors" -h 16 -s 63 -H "$BOOT_START" ::
    syslinux --install --offset $((BOOT_START * 512)) "$disk"
    printf '%s\n' 'SERIAL 0' 'DEFAULT guest' 'PROMPT 0' 'TIMEOUT 0' 'LABEL guest' \
        ' KERNEL vmlinuz' ' INITRD initrd.img' " APPEND $3" >"$here/syslinux.cfg"
    mcopy -i "$disk@@$((BOOT_START * 512))" \
        "$here/vmlinuz" "$here/initrd.img" "$here/syslinux.cfg" ::
    rm "$here/syslinux.cfg"
}

# recipe KIND BUILD FILE...: run BUILD DIRECTORY unless its result is there; print the path
recipe() {
    local out work build=$2
    KIND=$1
    out=$(output "$1" "${@:3}")
    [[ -d $out ]] && echo "$out" && return
    mkdir -p "$(dirname "$out")"
    # One builder at a time: the second finds the first one's work.
    exec 9>"${out%-*}.lock"
    flock 9
    [[ -d $out ]] && echo "$out" && return
    work=$(mktemp -d "$out.XXXXXX")
    # shellcheck disable=SC2064  # the path of now
    trap "rm -rf '$work'" EXIT
    chmod 755 "$work"
    "$build" "$work"
    mv -T "$work" "$out"
    say "done in $SECONDS s"
    echo "$out"
}
