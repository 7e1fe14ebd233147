# Stages: product (the last, the default), test (all that `make test` needs), and the services beside a
# VM: etcd, ceph (one node, for tests and the demo), lan (a bridge with DHCP).
# Debian packages only: one source of security updates, no compiler, no pip.

# ---- the product's packages, whole ----
FROM debian:trixie-slim AS packages
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      ca-certificates \
      ovmf \
      python3 \
      python3-etcd3 \
      python3-jinja2 \
      python3-pycdlib \
      python3-pyroute2 \
      python3-rados \
      python3-rbd \
      python3-yaml \
      qemu-block-extra \
      qemu-system-modules-spice \
      qemu-system-x86 \
      qemu-utils \
      tzdata \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

FROM packages AS test
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bridge-utils \
      busybox-static \
      ceph-common \
      ceph-mon \
      ceph-osd \
      cpio \
      curl \
      dnsmasq-base \
      docker-buildx \
      docker-cli \
      docker-compose \
      e2fsprogs \
      etcd-client \
      etcd-server \
      git \
      iproute2 \
      iptables \
      iputils-ping \
      make \
      mtools \
      nftables \
      openssh-client \
      procps \
      python3-pytest \
      python3-testinfra \
      shellcheck \
      socat \
      strace \
      systemd \
      tcpdump \
      xz-utils \
      zstd \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
ENV PYTHONDONTWRITEBYTECODE=1
CMD ["bash"]
