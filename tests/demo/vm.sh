# shellcheck shell=bash
# The demo's VM: its keys, written with etcdctl as a user would, and what etcd says of it. Sourced, never run.
# Whoever sources this sets etcdctl=(...), the command that reaches the demo's etcd, and lan=(...), which
# runs another one where its network is.
# shellcheck disable=SC2154  # etcdctl, lan, ram and ready are theirs

VM=demo
KEYS=/kvm/$VM
STATUS=/kvm/_run/$VM
BRIDGE=holdfast0
nic=(nics/nic0/bridge "$BRIDGE")
DATA_SIZE=64M

# describe ROOT-KEY VALUE: the keys of a VM that boots from this disk.
describe() {
    local key
    # Only what describes the VM: lock, epoch, fence and claims are not ours to touch.
    for key in rbd disks nics; do
        "${etcdctl[@]}" del --prefix "$KEYS/$key" >>"$LOG"
    done
    put "$1" "$2"
    put disks/data/pool default
    put disks/data/size "$DATA_SIZE"
    put "${nic[@]}"
    put ram "$ram"
    put hostname "$VM-guest"
    type_in_file tests/demo/cloud-config.yaml "${etcdctl[@]}" put "$KEYS/cloud-config"
    put x/demo "$1=$2"
}

# x/... is free for notes: this one says what the keys were written for.
is_described() { [ "$(value x/demo)" = "$1=$2" ]; }

put() { type_in "${etcdctl[@]}" put "$KEYS/$1" "$2"; }

value() { written "$KEYS/$1"; }

written() { "${etcdctl[@]}" get --print-value-only "$1" 2>>"$LOG"; }

# The guest's own words: GUEST-READY hostname=demo-guest address=10.77.0.50 ...
said() {
    local words=${ready#*"$1"=}
    [ "$words" = "$ready" ] || printf '%s' "${words%% *}"
}

# A guest whose cloud-init is of another mind tells nothing, but it has a lease.
address() {
    # shellcheck disable=SC2016  # the dollar is awk's
    said address | grep . || "${lan[@]}" awk 'END { print $3 }' "/run/lan-$BRIDGE.leases"
}

show_vm() {
    note "lock     $(value lock)"
    note "status   $(written "$STATUS")"
    note "epoch    $(written "/kvm/_own/$VM/epoch")"
    note "guest    $(value hostname), address $(address)${1:+, $1}"
}
