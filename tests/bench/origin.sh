#!/bin/bash
# The way of this project's origin, rebuilt from its description: a shell asks etcd for one key after the
# other, looks once whether the host has the lock, and becomes QEMU. What is left out would show nothing
# here (a screen, a network card), or is not in QEMU any more.
#
#   origin.sh INSTANCE     with ETCD_ENDPOINTS, HOSTNAME; EXTRA_FLAGS are the harness's
set -e
of() { etcdctl --endpoints="$ETCD_ENDPOINTS" get --print-value-only "/kvm/$1/$2"; }

ram=$(of "$1" ram)
mac=$(of "$1" mac)
rbd=$(of "$1" rbd)
port=$(of "$1" spice_port)
flags=$(of "$1" extra_flags)
host=$(of "$1" host)
[ "$HOSTNAME" = "$host" ] || { echo "do not have a host lock" >&2; exit 1; }
: "$mac" "$port"
disk=()
[ -z "$rbd" ] || disk=(-drive "format=rbd,file=rbd:$rbd:id=holdfast:conf=$CEPH_CONF,cache=writeback,if=virtio")
# shellcheck disable=SC2086  # as the origin did
exec qemu-system-x86_64 -accel tcg -m "$ram" -cpu qemu64 "${disk[@]}" $flags $EXTRA_FLAGS
