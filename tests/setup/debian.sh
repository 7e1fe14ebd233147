# What the scripts of this folder share: messages, rights, and the machine's own package mirror.
# shellcheck shell=bash
# Sourced, never run.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    local status=$1
    shift
    say "$@"
    exit "$status"
}

# sysexits(3): something is missing that we may not install; a right is missing
EX_UNAVAILABLE=69
EX_NOPERM=77

may_be_root() { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# install_packages WHAT PACKAGE...
install_packages() {
    local what=$1
    shift
    may_install "$what" "apt-get install --no-install-recommends $*"
    say "installing $what: $*"
    may_be_root || die "$EX_NOPERM" "root is needed for that, and there is no sudo here"
    # The package lists may be missing or old; new ones are fetched only when these fail.
    apt_install "$@" 2>/dev/null ||
        { as_root apt-get update -qq && apt_install "$@"; } ||
        die "$EX_UNAVAILABLE" "apt-get could not install $*"
}

# may_install WHAT COMMAND...: with NO_INSTALL=1, prints the commands and gives up.
may_install() {
    [ "${NO_INSTALL:-}" = 1 ] || return 0
    say "$1 is missing, and NO_INSTALL=1 forbids to install it. By hand:"
    shift
    printf '    %s\n' "$@" >&2
    exit "$EX_UNAVAILABLE"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@" >/dev/null
}

# trixie_sources prints a sources.list of Debian 13, on the mirror that this machine uses itself.
trixie_sources() {
    local mirror security key=/usr/share/keyrings/debian-archive-keyring.gpg
    mirror=$(mirror_of Debian/Debian)
    if [ -z "$mirror" ]; then
        as_root apt-get update -qq
        mirror=$(mirror_of Debian/Debian)
    fi
    [ -n "$mirror" ] || die "$EX_UNAVAILABLE" "apt's sources name no Debian mirror"
    security=$(mirror_of Debian/Debian-Security)
    printf "deb [signed-by=$key] %s %s main\n" "$mirror" trixie "$mirror" trixie-updates
    [ -z "$security" ] || printf "deb [signed-by=$key] %s trixie-security main\n" "$security"
}

# mirror_of ORIGIN/LABEL: the archive's address, once its Release file is here.
mirror_of() {
    # shellcheck disable=SC2016  # the dollars are apt's
    apt-get indextargets --format '$(REPO_URI) $(ORIGIN)/$(LABEL)' 'Created-By: Packages' |
        awk -v wanted="$1" '$2 == wanted { print $1; exit }'
}
