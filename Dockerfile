# Stages: product (the last, the default), test (all that `make test` needs), bench (the same for `make bench`),
# and the services beside a VM: etcd, ceph (one node, for tests and the demo), lan (a bridge with DHCP).
# Debian packages only: one source of security updates, no compiler, no pip.

# ---- the product's packages, whole ----
FROM debian:trixie-slim AS packages
ENV DEBIAN_FRONTEND=noninteractive
# The emulator of the image's own architecture is always there. Others are for a tag of their own:
# docker build --build-arg EMULATORS="aarch64" --tag holdfast:full .
ARG EMULATORS=""
RUN for arch in $(uname -m) $EMULATORS; do \
      case $arch in \
        x86_64) echo qemu-system-x86 ovmf ;; \
        aarch64) echo qemu-system-arm qemu-efi-aarch64 ;; \
        *) echo "EMULATORS: $arch is none of x86_64 aarch64" >&2; exit 1 ;; \
      esac; \
    done >/emulators
# hadolint ignore=SC2046  # several packages
RUN apt-get update \
 && apt-get install -y --no-install-recommends $(cat /emulators) \
      ca-certificates \
      libnftables1 \
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
      qemu-utils \
      swtpm \
      tzdata \
      zstd \
      virtiofsd \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /emulators \
 && rm -f /usr/share/AAVMF/*snakeoil* /usr/share/AAVMF/*.ms.fd /usr/share/AAVMF/*CODE.secboot*

# ---- the same, without what a VM never needs ----
# Whole packages go through dpkg, so that its status stays true for those who scan it; parts of
# packages are deleted. A test looks for libraries that miss another one.
FROM packages AS root
# SPICE's module drags in OpenGL with its compilers (llvm, z3, mesa), and names of languages; QEMU's
# RBD driver comes with all other network storage; the rest installs software or serves log-ins.
RUN dpkg --purge --force-depends --force-remove-essential --force-remove-protected \
      libdrm-amdgpu1 libdrm-intel1 libgl1-mesa-dri libllvm19 libpciaccess0 libsensors-config \
      libsensors5 libva-drm2 libva2 libvirglrenderer1 libvulkan1 libwayland-server0 libx11-6 \
      libx11-data libx11-xcb1 libxau6 libxcb-dri3-0 libxcb-present0 libxcb-randr0 libxcb-sync1 \
      libxcb-xfixes0 libxcb1 libxdmcp6 libxshmfence1 libz3-4 mesa-libgallium \
      iso-codes \
      genisoimage libmagic-mgc libmagic1t64 \
      libblkio1 libbrotli1 libcurl3t64-gnutls libgfapi0 libgfrpc0 libgfxdr0 libglusterfs0 \
      libiscsi7 libldap2 libnfs14 libssh-4 libssh2-1t64 \
      libasound2-data libasound2t64 libbrlapi0.8 libcacard0 libnspr4 libnss3 libpcsclite1 \
      adduser apt diffutils libapt-pkg7.0 login passwd sqv \
      libsubid5 uidmap \
      debconf perl-base
# hadolint ignore=DL3003  # many folders, one layer
RUN cd /usr/bin \
 && rm qemu-io qemu-nbd qemu-pr-helper qemu-storage-daemon \
 && rm -f qemu-system-arm qemu-system-i386 qemu-system-x86_64-microvm qemu-vmsr-helper \
 && find . -xtype l -name 'qemu-system-*' -delete \
 && cd /usr/lib/*-linux-gnu/qemu \
 && rm audio-alsa.so audio-dbus.so block-blkio.so block-curl.so block-gluster.so block-iscsi.so \
      block-nfs.so block-ssh.so chardev-baum.so hw-display-*-gl.so hw-s390x-*.so \
      hw-usb-smartcard.so ui-dbus.so ui-egl-headless.so \
 && cd /usr/share/qemu \
 && rm -r QEMU,* bamboo.dtb canyonlands.dtb hppa-* linux-user-vdso.tar.gz npcm* openbios-* \
      palcode-clipper s390-ccw.img skiboot.lid slof.bin trace-events-all u-boot* vof.bin \
      efi-eepro100.rom efi-ne2k_pci.rom efi-pcnet.rom pxe-eepro100.rom pxe-ne2k_pci.rom pxe-pcnet.rom \
 && rm -rf OVMF.fd ../ovmf ../OVMF/*snakeoil* ../OVMF/*strictnx* ../qemu-efi-aarch64 \
 && cd /usr/lib/*-linux-gnu \
 && rm -r gbm gconv gstreamer1.0/gstreamer-1.0/gst-ptp-helper \
 && cd /usr/lib/python3 \
 && rm -r dist-packages/psutil/tests ../python3.13/test ../python3.13/pydoc_data \
      ../python3.13/__pycache__/pydoc* \
 && rm -rf /usr/share/icons /usr/share/applications \
      /usr/share/doc/*/changelog* /usr/share/doc/*/NEWS* /usr/share/doc/*/README* \
      /usr/share/lintian /usr/share/man /usr/share/bash-completion /usr/share/locale \
      /var/cache/* /var/log/* /var/lib/apt /var/lib/dpkg/*-old /etc/apt \
 && find / -xdev -type f -perm /6000 -exec chmod ug-s {} + \
 && ldconfig
# What the image is made of, for whoever compares it with Debian's security tracker.
RUN mkdir -p /usr/lib/holdfast \
 && dpkg-query --show --showformat='${Package}\t${Version}\t${Architecture}\n' >/usr/lib/holdfast/packages.tsv

# ---- Holdfast ----
FROM packages AS code
COPY entrypoint/precompile.py /precompile.py
COPY entrypoint/holdfast /usr/lib/python3/dist-packages/holdfast
# The sources never change in an image: no look at them when the bytecode is loaded. Without `site`, which would
# only look for what is not there. A stop that comes while the interpreter starts is blocked, not dropped: see runtime/events.py.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3/dist-packages/holdfast \
 && python3 -I /precompile.py \
 && printf '%s\n' '#!/usr/bin/env -S --block-signal=TERM,INT,HUP /usr/bin/setpriv --no-new-privs /usr/bin/python3 -ISB' \
      'import sys' 'sys.path.append("/usr/lib/python3/dist-packages")' \
      'from holdfast import precompiled' 'precompiled.use()' \
      'from holdfast.__main__ import main' 'main()' >/usr/bin/holdfast \
 && chmod 755 /usr/bin/holdfast

FROM packages AS test
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bindfs \
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
      faketime \
      gcc \
      git \
      iproute2 \
      iptables \
      iputils-ping \
      libc6-dev \
      make \
      mtools \
      nftables \
      openssh-client \
      procps \
      python3-hypothesis \
      python3-pytest \
      python3-pytest-timeout \
      python3-pytest-xdist \
      python3-testinfra \
      qemu-efi-aarch64 \
      qemu-system-arm \
      shellcheck \
      socat \
      spin \
      strace \
      systemd \
      tcpdump \
      valgrind \
      xz-utils \
      zstd \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && rm -f /usr/share/AAVMF/*snakeoil* /usr/share/AAVMF/*.ms.fd /usr/share/AAVMF/*CODE.secboot*
ENV PYTHONDONTWRITEBYTECODE=1
CMD ["bash"]

# ---- what `make bench` needs: whom we measure ourselves against, and its statistics ----
FROM test AS bench
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      fio \
      libvirt-clients \
      libvirt-daemon \
      libvirt-daemon-driver-qemu \
      python3-matplotlib \
      python3-scipy \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
# As the product has it, compiled; not the work tree's.
COPY --from=code /usr/bin/holdfast /usr/bin/holdfast
COPY --from=code /usr/lib/python3/dist-packages/holdfast /usr/lib/python3/dist-packages/holdfast

# ---- what stands beside a VM in docker-compose.yml ----
FROM debian:trixie-slim AS etcd
RUN apt-get update \
 && apt-get install -y --no-install-recommends etcd-client etcd-server openssl \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && install --directory --mode=700 --owner=etcd --group=etcd /launcher
COPY tests/etcd/ /usr/local/bin/
USER etcd
VOLUME /var/lib/etcd /launcher
EXPOSE 2379
ENTRYPOINT ["serve-etcd"]

FROM debian:trixie-slim AS ceph
RUN apt-get update \
 && apt-get install -y --no-install-recommends ceph-common ceph-mon ceph-osd \
 && apt-get clean && rm -rf /var/lib/apt/lists/*
COPY tests/ceph/single-node /usr/local/bin/single-node
ENTRYPOINT ["single-node"]
CMD ["/etc/ceph", "/var/lib/ceph-node"]

FROM debian:trixie-slim AS lan
RUN apt-get update \
 && apt-get install -y --no-install-recommends busybox dnsmasq-base iproute2 nftables openssh-client \
 && apt-get clean && rm -rf /var/lib/apt/lists/* \
 && ln -s busybox /usr/bin/wget && ln -s busybox /usr/bin/nc
COPY tests/lan/lan /usr/local/bin/lan
ENTRYPOINT ["lan"]

# ---- the product ----
FROM scratch AS product
COPY --from=root / /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8
RUN mkdir -p /etc/ceph /etc/qemu /run/holdfast /var/lib/holdfast/cache /var/lib/holdfast/images /var/lib/holdfast/pool \
 && chmod 700 /var/lib/holdfast/pool
COPY entrypoint/host.toml /usr/lib/holdfast/host.toml
COPY --from=code /usr/bin/holdfast /usr/bin/holdfast
COPY --from=code /usr/lib/python3/dist-packages/holdfast /usr/lib/python3/dist-packages/holdfast
STOPSIGNAL SIGTERM
# The launcher touches the file as long as all is well: its guest runs and QEMU answers, or it rightly waits. It takes it
# away when something ails; no Python is started to look.
HEALTHCHECK --interval=20s --timeout=5s --start-period=60s \
  CMD ["sh", "-c", "test -n \"$(find /run/holdfast/health -mmin -1)\""]
ENTRYPOINT ["holdfast"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdfast" \
      org.opencontainers.image.description="QEMU/KVM virtual machines in containers, described by keys in etcd, each running in one place only" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="debian:trixie-slim"
