"""Hashes of passwords, as far as cloud-init knows one from a password: what it does not know it would hash
once more, and the hash itself would be the password.
"""

import re

# cc_set_passwords.py has \$(1|2a|2y|5|6)(\$.+){2}; whole they are as crypt(5) says.
SALT, LETTER = r"\$[^$:\n]{1,16}\$", "[./0-9A-Za-z]"
WHOLE = tuple(
    re.compile(pattern)
    for pattern in (
        rf"\$1{SALT}{LETTER}{{22}}",
        rf"\$2[ay]\$[0-3][0-9]\${LETTER}{{53}}",
        rf"\$5(\$rounds=[0-9]+)?{SALT}{LETTER}{{43}}",
        rf"\$6(\$rounds=[0-9]+)?{SALT}{LETTER}{{86}}",
    )
)
KNOWN = re.compile(
    r"\$(1|2[abxy]?|3|5|6|7|y|gy|md5|sha1|apr1|scrypt|argon2(i|d|id)|pbkdf2[a-z0-9-]*)[$,]"
)
LIKE_ONE = re.compile(r"\$[a-z0-9-]{1,16}\$[./0-9A-Za-z$=,+-]{24,}")


def unfit(password: str) -> str:
    """Why it may not be used, or ""."""
    looks = KNOWN.match(password) or LIKE_ONE.fullmatch(password)
    if not looks or any(whole.fullmatch(password) for whole in WHOLE):
        return ""
    return (
        "looks like a hash that cloud-init does not know, which would take it for the password itself; "
        "`mkpasswd -m sha-512` or `openssl passwd -6` makes one that it knows"
    )
