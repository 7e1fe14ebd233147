# shellcheck shell=sh
# What the guest's programs share. Sourced.
# shellcheck disable=SC2034  # for the programs that source it

PATH=/bin:/sbin
COUNTER=40  # sector of the boot counter: behind a GPT's entries, before an ISO's descriptors and any partition
STAMP=41    # sector that write-stamp and write-journal write
JOURNAL=128 # first sector of the journal
GAP=64      # sectors between the journals of two boots

# A line is one write, so that lines of two programs never mix.
say() { echo "$*" >/dev/console; }

# size NAME: bytes of a disk
size() { echo $(($(cat "/sys/block/$1/size") * 512)); }

serial() { cat "/sys/block/$1/serial" 2>/dev/null; }

# A name without a block device behind it would become a file in devtmpfs.
disks() {
    for path in /sys/block/vd* /sys/block/sd* /sys/block/nvme*; do
        [ -b "/dev/${path##*/}" ] && echo "${path##*/}"
    done
}

nics() {
    for path in /sys/class/net/*; do
        [ -e "$path/device" ] && echo "${path##*/}"
    done
}

# address NIC: its first address, IPv4 before IPv6, without the prefix length
address() {
    { ip -4 addr show dev "$1" scope global; ip -6 addr show dev "$1" scope global; } 2>/dev/null |
        awk '$1 ~ /^inet/ {sub("/.*", "", $2); print $2; exit}'
}

nic_line() { echo "nic=$1 mac=$(cat "/sys/class/net/$1/address") address=$(address "$1" | grep . || echo none)"; }

# read_record DISK SECTOR / write_record DISK SECTOR TEXT: one sector of text, synced to the device
read_record() { dd if="/dev/$1" bs=512 skip="$2" count=1 2>/dev/null | tr -d '\000'; }

write_record() {
    [ -b "/dev/$1" ] && printf '%-511s\n' "$3" |
        dd of="/dev/$1" bs=512 seek="$2" count=1 conv=notrunc,fsync 2>/dev/null
}

mount_kernel() {
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs dev /dev
}

# Each pass may show devices of a bus that the pass before brought up.
load_drivers() {
    loaded=-1
    while [ "$loaded" != "$(wc -l </proc/modules)" ]; do
        loaded=$(wc -l </proc/modules)
        cat /sys/bus/*/devices/*/modalias 2>/dev/null | sort -u | xargs modprobe -a -b 2>/dev/null
    done
}
