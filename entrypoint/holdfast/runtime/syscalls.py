"""Numbers of system calls, and which of them no helper needs.

The table is a deny-list, and why: what helpers are made of (Python, OpenSSL, glibc's resolver, QEMU's block
layer) calls what it likes from one version of Debian to the next, and a list of all that is allowed would break
a start in the field, not a test. Beneath it lies docker's own list, which is one of what is allowed. What is newer than
this table does not exist for a helper: so the list does not age into an open one.
"""

X86_64, AARCH64 = "x86_64", "aarch64"
# linux/audit.h
ARCHITECTURES = {X86_64: 0xC000_003E, AARCH64: 0xC000_00B7}
NEWEST = 462  # mseal; from 424 on the numbers are the same everywhere
CLONE = {X86_64: 56, AARCH64: 220}
CLONE3 = 435
SOCKET = {X86_64: 41, AARCH64: 198}

# x86_64's number, aarch64's (None: it has no such call).
Numbers = dict[str, tuple[int, int | None]]

DANGEROUS: Numbers = {
    # other processes, and what they have open
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "move_pages": (279, 239), "migrate_pages": (256, 238),
    # other views of the file system
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fspick": (433, 433), "mount_setattr": (442, 442), "statmount": (457, 457), "listmount": (458, 458),
    "mknod": (133, None), "mknodat": (259, 33), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262), "quotactl": (179, 60), "quotactl_fd": (443, 443), "setns": (308, 268),
    "unshare": (272, 97),
    # large parts of the kernel that nothing of ours talks to
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "memfd_secret": (447, 447), "vmsplice": (278, 75), "lookup_dcookie": (212, 18),
    # the machine
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89), "syslog": (103, 116), "vhangup": (153, 58), "sethostname": (170, 161),
    "setdomainname": (171, 162), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "iopl": (172, None), "ioperm": (173, None), "modify_ldt": (154, None),
    "personality": (135, 92),
}  # fmt: skip

# For who has no business on a network. What is connected already goes on.
NETWORK: Numbers = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "accept4": (288, 242),
}  # fmt: skip

# For who starts nobody; `clone` is for its threads then.
PROCESSES: Numbers = {"fork": (57, None), "vfork": (58, None), "execveat": (322, 281)}
