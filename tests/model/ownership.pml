/* The ownership protocol (docs/ownership.md) as a model for spin. docs/reliability.md maps each step
 * to the function that does it; runs.py beside this file holds the bounds.
 *
 * etcd is a linearizable store. A revision is never used twice, so "unchanged since I saw it" is kept
 * as a value beside whoever saw it (STALE, SAME, NONE), and no revision is counted: a key that was
 * absent and is absent again compares equal, one that was written again never does. Epochs are
 * numbers; with UNBOUNDED, numbers that nobody refers to any more are squeezed out, so that any count
 * of epochs has finitely many states.
 *
 * Nothing is timed. A launcher, a QEMU, a storage process may stop between any two steps and go on at
 * any later time; a lease may run out whenever it exists. So none of the protocol's deadlines is
 * needed for what is shown here.
 *
 * A client that can never write again is forgotten: its address in a record means nothing any more.
 *
 * Switches for what lies past one tree of one etcd: TREES, two VMs of two trees (or two etcds) name one image;
 * IMAGE, the claim in the image; LOOKS, what lists the clients of an image lists all, and is asked; CLONES,
 * each VM has a disk of its own, and one carries old copies of the other's record; RESTORE, an etcd that comes
 * back with what it knew earlier, or with nothing.
 */

#ifndef LAUNCHERS
#define LAUNCHERS 2
#endif
#ifndef VMS
#define VMS 1
#endif
#ifndef DISKS       /* with two, VM 0 adds disk 1 while it runs */
#define DISKS 1
#endif
#ifndef CLIENTS     /* storage clients that may write, or may be let write, at one time */
#define CLIENTS 4
#endif
#ifndef COPIES      /* requests under way at one time */
#define COPIES 1
#endif

/* Faults are free (any number of each), or FAULTS of all kinds together. */
#ifdef FAULTS
byte faults = FAULTS;
#define FAULT (faults > 0)
#define SPEND faults--
#else
#define FAULT true
#define SPEND skip
#endif

/* Either epochs are squeezed, or nobody takes a VM any more at EPOCHS. */
#ifdef UNBOUNDED
#define MAY_TAKE(v) true
#else
#ifndef EPOCHS
#define EPOCHS 3
#endif
#define MAY_TAKE(v) (epoch[v] < EPOCHS)
#endif

#if VMS == 2
#define VM(i) ((i) == LAUNCHERS - 1)     /* the last launcher is of VM 1, all others of VM 0 */
#else
#define VM(i) 0
#endif
#if VMS == 2 && (DISKS == 2 || defined(TREES) || defined(CLONES))
#define HOME(v) (v)     /* the key of the claim: with TREES one image, and a claim in either tree */
#else
#define HOME(v) 0
#endif
#if DISKS == 2 || defined(TREES) || defined(CLONES)
#define CLAIMS 2
#else
#define CLAIMS 1
#endif
#if DISKS == 2
#define HOT(i) hot[i]
#define DISK(i) (hot[i] -> 1 : HOME(VM(i)))
#else
#define HOT(i) false
#define DISK(i) HOME(VM(i))
#endif
#if DISKS == 2
#define LIES(i) DISK(i)
#elif defined(CLONES)
#define LIES(i) VM(i)
#else
#define LIES(i) 0
#endif

/* ---- etcd ---- */

#define ABSENT 0
#define GHOST (LAUNCHERS + 1)  /* on a lease that nobody renews: its launcher crashed or gave up */

byte lock[VMS];        /* ABSENT, launcher + 1, or GHOST */
byte epoch[VMS];
bool recorded[VMS];    /* the key `fence` is there ... */
byte fence[VMS];       /* ... and names these clients */
byte claim[CLAIMS];    /* ABSENT or VM + 1 */

#define STALE 0        /* written again since it was seen */
#define SAME 1         /* as it was seen, or as we wrote it */
#define NONE 2         /* was absent when it was seen */
#define UNNAMED 3      /* no disk of ours, not compared */
#define HOLDS(sight, there) (sight == UNNAMED || sight == SAME || (sight == NONE && !(there)))
#define SIGHT(there) ((there) -> SAME : NONE)

/* ---- storage: a client is one connection to Ceph, with an address of its own ---- */

#define FREE 0
#define MUTE 1         /* connected, but not let write yet (QEMU -S) */
#define OPEN 2         /* may write at any time */
#define BLOCKED 3      /* only where entries may expire: else it is forgotten */

byte state[CLIENTS];
byte stamp[CLIENTS];   /* the epoch that it writes */
bool orphan[CLIENTS];  /* killed, or its launcher is dead: frozen, or with writes under way */
bool written[CLIENTS];
bool superseded[CLIENTS];  /* a newer one has written the disk */
#if VMS == 2
bool vmof[CLIENTS];      /* VM */
#define OF(x) vmof[x]
#else
#define OF(x) 0
#endif
#if DISKS == 2
bool on[CLIENTS];      /* disk */
#define ON(x) on[x]
#elif defined(CLONES)
#define ON(x) OF(x)
#else
#define ON(x) 0
#endif
byte newest[VMS * DISKS];  /* the highest epoch of the VM that has written the disk */
#ifdef CLONES
#define NEWEST(v, d) newest[v]
#else
#define NEWEST(v, d) newest[(v) * DISKS + (d)]
#endif

#ifdef IMAGE
/* The claim in the image, changed by compare-and-set only. Its value is never used twice, so that comparing
 * it says what comparing a revision of etcd's would. */
byte mark;             /* ABSENT or VM + 1 */
byte named_there;      /* the clients that it names */
#endif
#ifdef CLONES
byte carried;          /* clients of VM 0 that VM 1's disk names in copies, since it was cloned */
#endif
#ifdef RESTORE
/* Epochs are numbers that come again, and an owner of the past may be believed again. So a client's stamp, and
 * what is compared with it, is when its launcher got the claim in the image, in true order. */
byte turns;
byte turn[LAUNCHERS];
byte marked_epoch;
#define TURN(i) turn[i]
bool shot;             /* etcd as it was at one moment (before: empty) ... */
bool restored;         /* ... and is again */
byte shot_lock, shot_epoch, shot_fence, shot_claim;
bool shot_recorded;
bool eclean = true, fclean = true, cclean = true;  /* not written since */
bool eshot[LAUNCHERS]; /* what was seen and has been written since the snapshot: whether the old is as seen */
byte fshot[LAUNCHERS];
byte cshot[LAUNCHERS];
#else
#define TURN(i) own[i]
#endif

bool older_has_written;    /* the invariant's negation */
bool owner_was_shut_out;   /* by somebody with an older epoch */
#ifdef RESTORE
bool newer_was_hidden;     /* by the records that an older owner wrote back */
bool owner_was_killed;     /* by itself, though etcd knew of no higher epoch */
#endif

/* ---- launchers ---- */

mtype = { DOWN, STANDBY, TAKE, RAISE, CLAIM, TAKE_OVER, GATHER, VERIFY, BLOCK, STORAGE, OWN_WRITER,
          WORK, RECORD, CONT, RUN, RESTART, PARTING, RELEASE, ABANDON, AGAIN, EARLY,
          LOOK, MARK, MARKING, NAME, UNMARK, WRITE_BACK, WATCHERS };

#define FENCED (CLIENTS + 1)  /* a client of ours that somebody has shut out, as we may not know yet */
#define LIVE(h) (h != 0 && h != FENCED)
#define BIT(x) (1 << (x))
#define BITS(h) (LIVE(h) -> BIT(h - 1) : 0)

mtype pc[LAUNCHERS] = STANDBY;
byte own[LAUNCHERS];       /* our epoch; 0 before it is raised */
bool esaw[LAUNCHERS];      /* the epoch is as we saw or wrote it */
byte fsaw[LAUNCHERS];      /* the fence record */
byte csaw[LAUNCHERS];      /* the claim of the VM's own disk */
byte gathered[LAUNCHERS];  /* to be shut out */
byte worker[LAUNCHERS];    /* the storage process: its client + 1, 0 or FENCED */
byte qemu[LAUNCHERS];
#ifdef IMAGE
byte isaw[LAUNCHERS];      /* the claim in the image */
#endif
#ifdef RESTORE
byte writers[LAUNCHERS];   /* the record as we wrote it last */
bool ended[LAUNCHERS];     /* QEMU has, and is restarted in place, when the records are back */
byte eread[LAUNCHERS];     /* the epoch as a standby read it */
#endif
#if DISKS == 2
byte added[LAUNCHERS];     /* QEMU's client of the disk that was added */
bool hot[LAUNCHERS];       /* this is about the disk that is being added */
byte hsaw[LAUNCHERS] = UNNAMED;  /* its claim */
#define ADDED(i) added[i]
#else
#define ADDED(i) 0
#endif
#if VMS == 2
bool xesaw[LAUNCHERS];     /* the other VM's epoch and record, when its claim is taken over */
byte xfsaw[LAUNCHERS];
byte joined[LAUNCHERS];
#endif

#define LOCKED(i) (lock[VM(i)] == i + 1)
#define OURS(i) (LOCKED(i) && esaw[i])
#if DISKS == 2
#define CLAIMED(i) (HOLDS(csaw[i], claim[HOME(VM(i))]) && HOLDS(hsaw[i], claim[1]))
#define KCLAIMED(k) (HOLDS(kclaim[k], claim[HOME(VM(sender[k]))]) && HOLDS(khclaim[k], claim[1]))
#define SIGHT_OF_CLAIM(i) (hot[i] -> hsaw[i] : csaw[i])
#define KSIGHT_OF_CLAIM(k) (khot[k] -> khclaim[k] : kclaim[k])
#define KDISK(k) (khot[k] -> 1 : HOME(VM(sender[k])))
#else
#define CLAIMED(i) HOLDS(csaw[i], claim[HOME(VM(i))])
#define KCLAIMED(k) HOLDS(kclaim[k], claim[HOME(VM(sender[k]))])
#define SIGHT_OF_CLAIM(i) csaw[i]
#define KSIGHT_OF_CLAIM(k) kclaim[k]
#define KDISK(k) HOME(VM(sender[k]))
#endif
#define RECORD_SAME(i) HOLDS(fsaw[i], recorded[VM(i)])

/* ---- requests under way: a late copy, or one whose sender has given up waiting ---- */

mtype kind[COPIES];
byte sender[COPIES];
byte kfence[COPIES];       /* what it compares: record, claims */
byte kclaim[COPIES];
byte kset[COPIES];         /* the clients that it writes into the record */
#if DISKS == 2
bool khot[COPIES];
byte khclaim[COPIES];
#endif
#if VMS == 2
byte kxfence[COPIES];
#endif
#ifdef IMAGE
byte kmark[COPIES];
#ifdef RESTORE
byte kepoch[COPIES];
#endif
#endif
#ifdef M_EPOCH_UNCOMPARED
byte read[LAUNCHERS];      /* the epoch as a standby read it */
byte kepoch[COPIES];
#endif

hidden byte j, m, x, e, used, named;  /* scratch of the d_steps */

inline drop(k)
{
	kind[k] = 0; sender[k] = 0; kfence[k] = 0; kclaim[k] = 0; kset[k] = 0;
#if DISKS == 2
	khot[k] = 0; khclaim[k] = 0;
#endif
#if VMS == 2
	kxfence[k] = 0;
#endif
#ifdef IMAGE
	kmark[k] = 0;
#endif
#if defined(M_EPOCH_UNCOMPARED) || (defined(IMAGE) && defined(RESTORE))
	kepoch[k] = 0;
#endif
}

/* A request of Ceph's: nothing that happens in etcd makes it fail. */
#ifdef IMAGE
#define TO_IMAGE(k) (kind[k] == MARK || kind[k] == NAME || kind[k] == UNMARK)
#else
#define TO_IMAGE(k) false
#endif

/* What a mutant leaves out of the compares. */
#ifdef M_DELETE_UNGUARDED
#define UNGUARDED_DELETE(k) (kind[k] == RELEASE)
#else
#define UNGUARDED_DELETE(k) false
#endif
#ifdef M_EPOCH_UNCOMPARED
#define UNGUARDED_RAISE(k) (kind[k] == RAISE)
#else
#define UNGUARDED_RAISE(k) false
#endif
#ifdef M_AGAIN_LOCK_ONLY
#define UNGUARDED_AGAIN(k) (kind[k] == AGAIN)
#else
#define UNGUARDED_AGAIN(k) false
#endif
#ifdef M_CLAIMS_UNCOMPARED
#define UNGUARDED_CLAIM(k) (kind[k] == CLAIM)
#else
#define UNGUARDED_CLAIM(k) false
#endif
#ifdef M_RECORD_UNCOMPARED
#define COMPARES_RECORD(k) (kind[k] == TAKE_OVER || kind[k] == AGAIN)
#else
#define COMPARES_RECORD(k) (kind[k] == OWN_WRITER || kind[k] == RECORD || kind[k] == TAKE_OVER || kind[k] == AGAIN)
#endif

/* A compare that has failed for a revision that was there can never hold again: such a copy is dead. */
inline lock_gone(v)
{
	lock[v] = ABSENT;
	for (m : 0 .. COPIES - 1) {
		if
		:: kind[m] && VM(sender[m]) == v && kind[m] != TAKE && kind[m] != AGAIN && !TO_IMAGE(m) &&
		   !UNGUARDED_DELETE(m) && !UNGUARDED_RAISE(m) -> drop(m)
		:: else
		fi
	}
}

inline squeeze(v)
{
#ifdef UNBOUNDED
	e = 1;
	do
	:: e < epoch[v] ->
		used = 0;
		for (j : 0 .. LAUNCHERS - 1) { used = used || (VM(j) == v && own[j] == e) }
		for (j : 0 .. CLIENTS - 1) { used = used || (state[j] && OF(j) == v && stamp[j] == e) }
		if
		:: used -> e++
		:: else ->
			epoch[v]--;
			for (j : 0 .. LAUNCHERS - 1) { if :: VM(j) == v && own[j] > e -> own[j]-- :: else fi }
			for (j : 0 .. CLIENTS - 1) { if :: state[j] && OF(j) == v && stamp[j] > e -> stamp[j]-- :: else fi }
			for (j : 0 .. DISKS - 1) { if :: NEWEST(v, j) > e -> NEWEST(v, j)-- :: else fi }
		fi
	:: else -> break
	od
#endif
	skip
}

inline epoch_written(v)
{
	for (j : 0 .. LAUNCHERS - 1) {
#ifdef RESTORE
		if :: esaw[j] -> eshot[j] = eclean :: else fi;
#endif
		if :: VM(j) == v -> esaw[j] = false :: else fi;
#if VMS == 2
		if :: VM(j) != v -> xesaw[j] = false :: else fi;
#endif
	}
	for (m : 0 .. COPIES - 1) {
		if
		:: kind[m] && VM(sender[m]) == v && !TO_IMAGE(m) &&
		   !UNGUARDED_DELETE(m) && !UNGUARDED_RAISE(m) && !UNGUARDED_AGAIN(m) -> drop(m)
#if VMS == 2
		:: kind[m] == TAKE_OVER && VM(sender[m]) != v -> drop(m)
#endif
		:: else
		fi
	}
#ifdef RESTORE
	eclean = false;
#endif
	squeeze(v)
}

inline fence_written(v)
{
	for (j : 0 .. LAUNCHERS - 1) {
#ifdef RESTORE
		if :: fsaw[j] == SAME -> fshot[j] = (fclean -> SAME : STALE) :: else fi;
#endif
		if :: VM(j) == v && fsaw[j] == SAME -> fsaw[j] = STALE :: else fi;
#if VMS == 2
		if :: VM(j) != v && xfsaw[j] == SAME -> xfsaw[j] = STALE :: else fi;
#endif
	}
	for (m : 0 .. COPIES - 1) {
		if
		:: kind[m] && VM(sender[m]) == v && COMPARES_RECORD(m) && kfence[m] == SAME && !UNGUARDED_AGAIN(m) -> drop(m)
#if VMS == 2
		:: kind[m] == TAKE_OVER && VM(sender[m]) != v && kxfence[m] == SAME -> drop(m)
#endif
		:: else
		fi
	}
#ifdef RESTORE
	fclean = false
#endif
}

#ifdef IMAGE
inline mark_written()
{
	for (j : 0 .. LAUNCHERS - 1) { if :: isaw[j] == SAME -> isaw[j] = STALE :: else fi }
	for (m : 0 .. COPIES - 1) { if :: kind[m] && TO_IMAGE(m) && kmark[m] == SAME -> drop(m) :: else fi }
}
#endif

inline claim_written(d)
{
	for (j : 0 .. LAUNCHERS - 1) {
#ifdef RESTORE
		if :: csaw[j] == SAME -> cshot[j] = (cclean -> SAME : STALE) :: else fi;
#endif
		if :: HOME(VM(j)) == d && csaw[j] == SAME -> csaw[j] = STALE :: else fi;
#if DISKS == 2
		if :: d == 1 && hsaw[j] == SAME -> hsaw[j] = STALE :: else fi
#endif
	}
	for (m : 0 .. COPIES - 1) {
		if
		:: UNGUARDED_DELETE(m) || UNGUARDED_AGAIN(m) || UNGUARDED_CLAIM(m)
		:: else ->
			if
			:: HOME(VM(sender[m])) == d && kclaim[m] == SAME -> drop(m)
#if DISKS == 2
			:: d == 1 && khclaim[m] == SAME -> drop(m)
#endif
			:: else
			fi
		fi
	}
#ifdef RESTORE
	cclean = false
#endif
}

/* ---- clients ---- */

inline forget(c)
{
	state[c] = FREE; stamp[c] = 0; orphan[c] = false; written[c] = false; superseded[c] = false;
#if VMS == 2
	vmof[c] = 0;
#endif
#if DISKS == 2
	on[c] = 0;
#endif
	for (j : 0 .. VMS - 1) { fence[j] = fence[j] & ~BIT(c) }
	for (j : 0 .. LAUNCHERS - 1) {
		gathered[j] = gathered[j] & ~BIT(c);
#if VMS == 2
		joined[j] = joined[j] & ~BIT(c);
#endif
		if :: worker[j] == c + 1 -> worker[j] = FENCED :: else fi;
		if :: qemu[j] == c + 1 -> qemu[j] = FENCED :: else fi;
#if DISKS == 2
		if :: added[j] == c + 1 -> added[j] = FENCED :: else fi;
#endif
	}
	for (m : 0 .. COPIES - 1) { kset[m] = kset[m] & ~BIT(c) }
#ifdef IMAGE
	named_there = named_there & ~BIT(c);
#endif
#ifdef CLONES
	carried = carried & ~BIT(c);
#endif
#ifdef RESTORE
	shot_fence = shot_fence & ~BIT(c);
	for (j : 0 .. LAUNCHERS - 1) { writers[j] = writers[j] & ~BIT(c) }
#endif
}

inline shut_out(i, c)
{
#if !defined(MUTANT) || defined(M_VERIFY_BEFORE_GATHER) || defined(M_FENCE_BEFORE_CLAIM) || \
	defined(M_OLD_COPIES_BELIEVED) || defined(M_FOREIGN_IGNORED) || defined(M_FENCE_BEFORE_MARK) || \
	defined(M_VERIFIED_AT_ETCD_ONLY)
	if
	:: OF(c) == VM(i) && stamp[c] > TURN(i) -> owner_was_shut_out = true
	:: else
	fi;
#ifdef RESTORE
	for (j : 0 .. LAUNCHERS - 1) {  /* it goes on with what etcd has forgotten */
		if
		:: j != i && qemu[j] == c + 1 && pc[j] == RUN && own[j] >= own[i] -> owner_was_shut_out = true
		:: else
		fi
	}
#endif
#if VMS == 2
	for (j : 0 .. LAUNCHERS - 1) {
		if
		:: OF(c) != VM(i) && (qemu[j] == c + 1 || ADDED(j) == c + 1 || worker[j] == c + 1) && OURS(j) &&
		   CLAIMED(j) -> owner_was_shut_out = true
		:: else
		fi
	}
#endif
	assert(!owner_was_shut_out);
#endif
#ifdef M_ENTRY_EXPIRES
	if
	:: state[c] == OPEN -> state[c] = BLOCKED; gathered[i] = gathered[i] & ~BIT(c)
	:: state[c] == BLOCKED -> gathered[i] = gathered[i] & ~BIT(c)
	:: else -> forget(c)
	fi
#else
	forget(c)
#endif
}

inline connected(i, handle, d, how)
{
	state[x] = how; stamp[x] = TURN(i); handle = x + 1;
#if VMS == 2
	vmof[x] = VM(i);
#endif
#if DISKS == 2
	on[x] = d;
#endif
}

/* x: the lowest free slot. That there are enough of them is part of what a run shows. */
inline connect(i, handle, d, how)
{
	x = 0;
	do :: x < CLIENTS && state[x] -> x++ :: else -> break od;
#ifdef MUTANT
	if
	:: x == CLIENTS -> pc[i] = DOWN
	:: else -> connected(i, handle, d, how)
	fi
#else
	assert(x < CLIENTS);
	connected(i, handle, d, how)
#endif
}

/* Killed. One that was let write may have writes under way; one that was not has none. */
inline kill(handle)
{
	if
	:: LIVE(handle) && state[handle - 1] != MUTE -> orphan[handle - 1] = true
	:: LIVE(handle) && state[handle - 1] == MUTE -> x = handle - 1; forget(x)
	:: else
	fi;
	handle = 0
}

inline kill_all(i)
{
	kill(worker[i]); kill(qemu[i]);
#if DISKS == 2
	kill(added[i]);
#endif
}

/* Ended by itself, everything written. */
inline close(handle)
{
	if :: LIVE(handle) -> x = handle - 1; forget(x) :: else fi;
	handle = 0
}

inline leave(i, where)
{
	kill_all(i);
	own[i] = 0; esaw[i] = false; fsaw[i] = 0; csaw[i] = 0; gathered[i] = 0;
#ifdef IMAGE
	isaw[i] = 0;
#endif
#ifdef RESTORE
	turn[i] = 0; writers[i] = 0; eread[i] = 0; ended[i] = false; eshot[i] = false; fshot[i] = 0; cshot[i] = 0;
	if :: shot_lock == i + 1 -> shot_lock = GHOST :: else fi;  /* that attempt's lock is nobody's any more */
#endif
#if DISKS == 2
	hot[i] = false; hsaw[i] = UNNAMED;
#endif
#if VMS == 2
	xesaw[i] = false; xfsaw[i] = 0; joined[i] = 0;
#endif
#ifdef M_EPOCH_UNCOMPARED
	read[i] = 0;
#endif
	pc[i] = where
}

inline xclear(i)
{
#if VMS == 2
	xesaw[i] = false; xfsaw[i] = 0; joined[i] = 0;
#endif
	skip
}

/* A step that failed: the start is given up, or only the disk that was being added. */
inline fail(i)
{
#if DISKS == 2
	if
	:: hot[i] ->
		kill(worker[i]); kill(added[i]); hot[i] = false; gathered[i] = 0;
		xclear(i);
		pc[i] = RUN
	:: else -> pc[i] = ABANDON
	fi
#else
	pc[i] = ABANDON
#endif
}

/* ---- transactions ---- */

#define WITH_WORKER(i) (fence[VM(i)] | BITS(worker[i]))

/* Who writes the record drops nobody from it who may still write. */
#ifdef M_RECORD_LIVE_ONLY
#define ALL_WRITERS(i) (BITS(qemu[i]) | BITS(ADDED(i)))
#else
#define ALL_WRITERS(i) (fence[VM(i)] | BITS(qemu[i]) | BITS(ADDED(i)))
#endif

#ifdef IMAGE
/* Whom the claim in the image names: all who may still write, of us and of those before us. */
#ifdef M_STORAGE_UNNAMED
#define CLAIMANTS(i) gathered[i]
#else
#define CLAIMANTS(i) (gathered[i] | BITS(worker[i]))
#endif
#define NAMED(i) (named_there | fence[VM(i)] | BITS(worker[i]) | BITS(qemu[i]) | BITS(ADDED(i)))
#ifdef RESTORE
#define PUT_MARK(v, e, set) mark = (v) + 1; marked_epoch = e; named_there = set
#else
#define PUT_MARK(v, e, set) mark = (v) + 1; named_there = set
#endif
#endif

#ifdef M_TAKE_OVER_NOT_JOINED
#define JOINED(i) fence[VM(i)]
#else
#define JOINED(i) (fence[VM(i)] | joined[i])
#endif

#if COPIES == 1
#define SLOT !kind[0]
#elif COPIES == 2
#define SLOT (!kind[0] || !kind[1])
#else
#define SLOT (!kind[0] || !kind[1] || !kind[2])
#endif

/* A copy of the request stays under way, or it does not. */
inline send(i, k)
{
	if
	:: d_step { SLOT && FAULT ->
		SPEND;
		m = 0;
		do :: kind[m] -> m++ :: else -> break od;
		kind[m] = k; sender[m] = i;
		if
		:: k == OWN_WRITER -> kset[m] = WITH_WORKER(i)
		:: k == RECORD -> kset[m] = ALL_WRITERS(i)
#if VMS == 2
		:: k == TAKE_OVER -> kset[m] = JOINED(i)
#endif
		:: else
		fi;
		if :: k == OWN_WRITER || k == RECORD || k == TAKE_OVER || k == AGAIN -> kfence[m] = fsaw[i] :: else fi;
		if
		:: k == TAKE || k == RAISE || k == OWN_WRITER -> kclaim[m] = UNNAMED
		:: else -> kclaim[m] = csaw[i]
		fi;
#if DISKS == 2
		if
		:: k == TAKE || k == RAISE || k == OWN_WRITER -> khclaim[m] = UNNAMED
		:: else -> khclaim[m] = hsaw[i]; khot[m] = hot[i]
		fi;
		if /* a claim that is taken is the only one that is compared */
		:: (k == CLAIM || k == TAKE_OVER) && hot[i] -> kclaim[m] = UNNAMED
		:: (k == CLAIM || k == TAKE_OVER) && !hot[i] -> khclaim[m] = UNNAMED
		:: else
		fi;
#endif
#if VMS == 2
		if :: k == TAKE_OVER -> kxfence[m] = xfsaw[i] :: else fi;
#endif
#ifdef IMAGE
		if
		:: k == MARK || k == NAME || k == UNMARK ->
			kmark[m] = isaw[i]; kclaim[m] = UNNAMED;
			if :: k == MARK -> kset[m] = CLAIMANTS(i) | (isaw[i] == SAME -> named_there : 0) :: k == NAME -> kset[m] = NAMED(i) :: else fi;
#ifdef RESTORE
			kepoch[m] = own[i]
#endif
		:: else
		fi;
#endif
#ifdef M_EPOCH_UNCOMPARED
		if :: k == RAISE -> kepoch[m] = read[i] + 1 :: else fi
#endif
	   }
	:: true
	fi
}

inline put_record(v, clients)
{
	recorded[v] = true; fence[v] = clients;
	fence_written(v)
}

inline delete_records(v, hsight)
{
	recorded[v] = false; fence[v] = 0;
	fence_written(v);
	claim[HOME(v)] = ABSENT;
	claim_written(HOME(v));
#if DISKS == 2
	if :: hsight == SAME -> claim[1] = ABSENT; claim_written(1) :: else fi
#endif
}

inline runs(i)
{
#if DISKS == 2
	hot[i] = false;
#endif
	pc[i] = RUN
}

#ifdef IMAGE
#define FROM_READ LOOK
#define FROM_QEMU NAME
#else
#define FROM_READ TAKE
#define FROM_QEMU RECORD
#endif

inline unclaim(i)
{
#if DISKS == 2
	if :: hot[i] -> hsaw[i] = UNNAMED :: else fi
#else
	skip
#endif
}

inline mark_orphan(handle)
{
	if :: LIVE(handle) -> orphan[handle - 1] = true :: else fi
}

/* QEMU is there, paused; or it has opened the disk that is added. */
/* It has the image; what was connected before, and could not write, is of this tenure. */
inline turned(i)
{
#ifdef RESTORE
	turns++; turn[i] = turns;
#endif
	if :: LIVE(worker[i]) -> stamp[worker[i] - 1] = TURN(i); superseded[worker[i] - 1] = false :: else fi
}

inline spawn(i)
{
#if DISKS == 2
	if
	:: hot[i] -> connect(i, added[i], 1, MUTE)
	:: else ->
		connect(i, qemu[i], HOME(VM(i)), MUTE);
		if :: added[i] -> connect(i, added[i], 1, MUTE) :: else fi
	fi;
#else
	connect(i, qemu[i], 0, MUTE);
#endif
#ifdef M_RECORD_AFTER_CONT
	pc[i] = CONT
#elif defined(LOOKS) && !defined(M_NO_SECOND_LOOK)
	pc[i] = WATCHERS
#else
	pc[i] = FROM_QEMU
#endif
}

inline let_write(handle)
{
	if :: LIVE(handle) && state[handle - 1] == MUTE -> state[handle - 1] = OPEN :: else fi
}

inline lowest(set)
{
	x = 0;
	do :: !(set & BIT(x)) -> x++ :: else -> break od
}

#ifdef RESTORE
inline written_back(i)
{
	pc[i] = (ended[i] -> RESTART : RUN); ended[i] = false
}
#endif

/* The order of the steps, as it is and as a mutant has it. */
#ifdef M_FENCE_BEFORE_CLAIM
#define FROM_EPOCH GATHER
#define FROM_BLOCK (HOT(i) -> STORAGE : CLAIM)
#define FROM_CLAIM (HOT(i) -> GATHER : STORAGE)
#else
#define FROM_EPOCH CLAIM
#define FROM_BLOCK STORAGE
#if defined(IMAGE) && !defined(M_FENCE_BEFORE_MARK)
#define FROM_CLAIM MARK
#else
#define FROM_CLAIM FIRST
#endif
#endif
#ifdef M_VERIFY_BEFORE_GATHER
#define FIRST VERIFY
#define THEN GATHER
#else
#define FIRST GATHER
#define THEN VERIFY
#endif
#ifdef M_FENCE_BEFORE_MARK
#undef FROM_BLOCK
#define FROM_BLOCK MARK
#define FROM_MARK STORAGE
#else
#define FROM_MARK FIRST
#endif

proctype Launcher(byte i)
{
end:	do
	/* Step 0: one read of all keys. Who is not eligible takes nothing. */
#ifdef M_FENCE_BEFORE_LOCK
	:: d_step { pc[i] == STANDBY && lock[VM(i)] == ABSENT && MAY_TAKE(VM(i)) ->
		gathered[i] = fence[VM(i)]; pc[i] = EARLY }
	:: d_step { pc[i] == EARLY && gathered[i] -> lowest(gathered[i]); shut_out(i, x); skip }
	:: d_step { pc[i] == EARLY && !gathered[i] && lock[VM(i)] == ABSENT && MAY_TAKE(VM(i)) ->
#else
	:: d_step { pc[i] == STANDBY && lock[VM(i)] == ABSENT && MAY_TAKE(VM(i)) ->
#endif
		esaw[i] = true;
		fsaw[i] = SIGHT(recorded[VM(i)]);
#ifdef M_EPOCH_UNCOMPARED
		read[i] = epoch[VM(i)];
#endif
#ifdef RESTORE
		eread[i] = epoch[VM(i)];
#endif
#if defined(CLONES) && !defined(M_OLD_COPIES_BELIEVED)
		/* Copies that etcd's record does not bear out: it waits for a person. */
		pc[i] = (VM(i) == 1 && (carried & ~fence[VM(i)]) -> STANDBY : TAKE) }
#else
		pc[i] = FROM_READ }
#endif

#ifdef IMAGE
	/* Step 0: whose is the image? Another tree's, or of an epoch that this etcd does not know: it waits. */
#ifdef M_FOREIGN_IGNORED
#define WAITS(i) false
#elif defined(RESTORE)
#define WAITS(i) (mark && marked_epoch > eread[i])
#else
#define WAITS(i) (mark && mark != VM(i) + 1)
#endif
	:: d_step { pc[i] == LOOK && !WAITS(i) -> isaw[i] = SIGHT(mark);
#ifdef RESTORE
		eread[i] = 0;
#endif
		pc[i] = TAKE }
#ifdef RESTORE
	:: d_step { pc[i] == LOOK && !esaw[i] && WAITS(i) -> leave(i, STANDBY) }  /* a change: it reads again */
#endif
#endif

	/* Step 1: the lock. The code also compares the record, and takes it as gathered from there on. */
#ifdef GATHER_AT_LOCK
#define MAY_LOCK(i) (lock[VM(i)] == ABSENT && esaw[i] && RECORD_SAME(i))
#else
#define MAY_LOCK(i) (lock[VM(i)] == ABSENT && esaw[i])
#endif
	:: atomic { pc[i] == TAKE ->
		if
		:: d_step { MAY_LOCK(i) ->
			lock[VM(i)] = i + 1; csaw[i] = SIGHT(claim[HOME(VM(i))]);
#ifdef GATHER_AT_LOCK
			gathered[i] = fence[VM(i)];
#endif
			pc[i] = RAISE }
		:: d_step { !MAY_LOCK(i) -> leave(i, STANDBY) }
		:: FAULT -> d_step { SPEND }; send(i, TAKE); d_step { leave(i, STANDBY) }
		fi }

	/* Step 2: the epoch. */
	:: atomic { pc[i] == RAISE ->
		send(i, RAISE);
		if
#ifdef M_EPOCH_UNCOMPARED
		:: d_step { epoch[VM(i)] = read[i] + 1; own[i] = epoch[VM(i)];
			epoch_written(VM(i)); esaw[i] = true; pc[i] = CLAIM }
#else
		:: d_step { OURS(i) ->
			epoch[VM(i)]++; own[i] = epoch[VM(i)];
#ifdef RESTORE
			writers[i] = fence[VM(i)];
#endif
			epoch_written(VM(i)); esaw[i] = true; pc[i] = FROM_EPOCH }
		:: d_step { !OURS(i) -> pc[i] = ABANDON }
#endif
		:: d_step { FAULT -> SPEND; pc[i] = ABANDON }
		fi }

	/* Step 2: the disk, absent or ours. */
	:: atomic { pc[i] == CLAIM && !(SIGHT_OF_CLAIM(i) == SAME && claim[DISK(i)] != VM(i) + 1) ->
		send(i, CLAIM);
		if
#ifdef M_CLAIMS_UNCOMPARED
#define MAY_CLAIM(i) OURS(i)
#else
#define MAY_CLAIM(i) (OURS(i) && HOLDS(SIGHT_OF_CLAIM(i), claim[DISK(i)]))
#endif
		:: d_step { MAY_CLAIM(i) ->
			claim[DISK(i)] = VM(i) + 1;
			claim_written(DISK(i));
#if DISKS == 2
			if :: hot[i] -> hsaw[i] = SAME :: else -> csaw[i] = SAME fi;
#else
			csaw[i] = SAME;
#endif
			pc[i] = FROM_CLAIM }
		:: d_step { !MAY_CLAIM(i) -> unclaim(i); fail(i); skip }
		:: d_step { FAULT -> SPEND; unclaim(i); fail(i); skip }
		fi }

#if VMS == 2
	/* Step 2: the disk of a VM whose lock is gone. */
	:: d_step { pc[i] == CLAIM && SIGHT_OF_CLAIM(i) == SAME && claim[DISK(i)] != VM(i) + 1 ->
		if
		:: lock[1 - VM(i)] != ABSENT -> unclaim(i); fail(i)
		:: else ->
			xesaw[i] = true;
			xfsaw[i] = SIGHT(recorded[1 - VM(i)]);
			joined[i] = fence[1 - VM(i)];
			pc[i] = TAKE_OVER
		fi }
#define MAY_TAKE_OVER(i) (OURS(i) && RECORD_SAME(i) && HOLDS(SIGHT_OF_CLAIM(i), claim[DISK(i)]) \
	&& lock[1 - VM(i)] == ABSENT && xesaw[i] && HOLDS(xfsaw[i], recorded[1 - VM(i)]))
	:: atomic { pc[i] == TAKE_OVER ->
		send(i, TAKE_OVER);
		if
		:: d_step { MAY_TAKE_OVER(i) ->
			named = JOINED(i); put_record(VM(i), named); fsaw[i] = SAME;
			claim[DISK(i)] = VM(i) + 1;
			claim_written(DISK(i));
#if DISKS == 2
			if :: hot[i] -> hsaw[i] = SAME :: else -> csaw[i] = SAME fi;
#else
			csaw[i] = SAME;
#endif
#ifdef GATHER_AT_LOCK
			gathered[i] = gathered[i] | joined[i];
#endif
			xclear(i);
#ifndef M_TAKE_OVER_EPOCH_KEPT
			epoch[1 - VM(i)]++;
			epoch_written(1 - VM(i));
#endif
			pc[i] = FROM_CLAIM }
		:: d_step { !MAY_TAKE_OVER(i) -> xclear(i); unclaim(i); fail(i); skip }
		:: d_step { FAULT -> SPEND; xclear(i); unclaim(i); fail(i); skip }
		fi }
#endif

#ifdef IMAGE
	/* The claim in the image, as it was read before the lock. Who fails has shut nobody out. It names the process
	 * that makes it, as that may write the image afterwards. */
	:: d_step { pc[i] == MARK && !worker[i] && FAULT -> SPEND; connect(i, worker[i], DISK(i), MUTE); skip }
	:: atomic { pc[i] == MARK ->
		send(i, MARK);
		if
		:: d_step { HOLDS(isaw[i], mark) ->
#ifdef M_MARK_CHECKED
			pc[i] = MARKING }
#else
			gathered[i] = gathered[i] | named_there;
			PUT_MARK(VM(i), own[i], CLAIMANTS(i));
			mark_written(); isaw[i] = SAME; turned(i);
			pc[i] = FROM_MARK }
#endif
		:: d_step { !HOLDS(isaw[i], mark) -> pc[i] = ABANDON }
		:: d_step { FAULT -> SPEND; pc[i] = ABANDON }
		fi }
#ifdef M_MARK_CHECKED
	:: d_step { pc[i] == MARKING ->
		gathered[i] = gathered[i] | named_there;
		PUT_MARK(VM(i), own[i], CLAIMANTS(i));
		mark_written(); isaw[i] = SAME;
		pc[i] = FROM_MARK }
#endif
#endif

	/* Step 3: gather, then make sure that we are the owner, then shut out what was gathered. */
#if defined(M_NO_FENCE) || defined(M_FENCE_BEFORE_LOCK)
	:: d_step { pc[i] == FIRST -> fsaw[i] = SIGHT(recorded[VM(i)]); pc[i] = STORAGE }
#else
	:: atomic { pc[i] == GATHER ->
		d_step {
#ifdef GATHER_AT_LOCK
			if
			:: !HOT(i)
#if defined(M_FENCE_BEFORE_MARK)
				-> gathered[i] = gathered[i] | named_there
#endif
			:: else ->
				fsaw[i] = SIGHT(recorded[VM(i)]);
				gathered[i] = fence[VM(i)]
			fi;
#else
			fsaw[i] = SIGHT(recorded[VM(i)]);
			gathered[i] = fence[VM(i)];
#endif
#ifdef M_OLD_COPIES_BELIEVED
			if :: VM(i) == 1 -> gathered[i] = gathered[i] | carried :: else fi;
#endif
			pc[i] = (THEN == VERIFY -> VERIFY : BLOCK)
		};
#ifndef LOOKS
		if
		:: true
		:: d_step {  /* lockers of the disk whose watcher has become invisible */
			for (j : 0 .. CLIENTS - 1) {
				if :: state[j] == OPEN && ON(j) == LIES(i) -> gathered[i] = gathered[i] | BIT(j) :: else fi
			}
			skip }
		fi;
#endif
		d_step { gathered[i] = gathered[i] & ~(BITS(qemu[i]) | BITS(ADDED(i))) } }
#if defined(IMAGE) && !defined(M_VERIFIED_AT_ETCD_ONLY) && !defined(M_FENCE_BEFORE_MARK)
#define VERIFIED(i) (OURS(i) && HOLDS(isaw[i], mark))
#else
#define VERIFIED(i) OURS(i)
#endif
	:: d_step { pc[i] == VERIFY ->
		if
		:: VERIFIED(i) -> pc[i] = (THEN == VERIFY -> BLOCK : GATHER)
		:: else -> fsaw[i] = STALE; fail(i)  /* what was read may be a newer owner's */
		fi;
		skip }
	:: d_step { pc[i] == BLOCK && gathered[i] -> lowest(gathered[i]); shut_out(i, x); skip }
	:: d_step { pc[i] == BLOCK && !gathered[i] -> pc[i] = FROM_BLOCK }
	:: d_step { (pc[i] == GATHER || pc[i] == BLOCK) && FAULT -> SPEND; fail(i); skip }
#endif

	/* Step 4: our own writer before QEMU: it is recorded before it writes. */
#ifdef IMAGE
	:: d_step { pc[i] == STORAGE && worker[i] == FENCED -> fail(i); skip }
	:: d_step { pc[i] == STORAGE && LIVE(worker[i]) -> pc[i] = OWN_WRITER }
	:: d_step { pc[i] == STORAGE && !worker[i] -> spawn(i); skip }
#else
	:: d_step { pc[i] == STORAGE -> spawn(i); skip }  /* nothing to create, import or grow */
#endif
#ifdef M_STORAGE_UNRECORDED
	:: d_step { pc[i] == STORAGE && FAULT ->
		SPEND; connect(i, worker[i], DISK(i), OPEN); pc[i] = WORK }
#else
#if !defined(LOOKS) && !defined(IMAGE)  /* it would write before anybody looks: the claim is the only barrier there */
	:: d_step { pc[i] == STORAGE && FAULT ->
		SPEND; connect(i, worker[i], DISK(i), MUTE); pc[i] = OWN_WRITER }
#endif
#endif
#ifdef M_RECORD_UNCOMPARED
#define MAY_RECORD(i) OURS(i)
#else
#define MAY_RECORD(i) (OURS(i) && RECORD_SAME(i))
#endif
	:: atomic { pc[i] == OWN_WRITER ->
		send(i, OWN_WRITER);
		if
		:: d_step { MAY_RECORD(i) ->
			named = WITH_WORKER(i); put_record(VM(i), named); fsaw[i] = SAME;
#ifdef RESTORE
			writers[i] = fence[VM(i)];
#endif
			let_write(worker[i]);
			pc[i] = WORK }
		:: d_step { !MAY_RECORD(i) -> fail(i); skip }
		:: d_step { FAULT -> SPEND; fail(i); skip }
		fi }
	:: d_step { pc[i] == WORK -> close(worker[i]); spawn(i); skip }
	:: d_step { pc[i] == WORK && FAULT -> SPEND; fail(i); skip }

#ifdef LOOKS
	/* Step 5: who has the image open must be QEMU, and nobody else. */
	:: d_step { pc[i] == WATCHERS ->
		used = 0;
		for (j : 0 .. CLIENTS - 1) { used = used || (state[j] && j + 1 != qemu[i] && j + 1 != worker[i]) }
		if :: used -> pc[i] = ABANDON :: else -> pc[i] = FROM_QEMU fi }
#endif
#ifdef IMAGE
	/* Step 5: QEMU's clients, into the image's claim. */
	:: atomic { pc[i] == NAME ->
		send(i, NAME);
		if
#ifdef M_NAME_UNCOMPARED
		:: d_step { named = NAMED(i); PUT_MARK(VM(i), own[i], named); mark_written(); isaw[i] = SAME; pc[i] = RECORD }
#else
		:: d_step { HOLDS(isaw[i], mark) ->
			named = NAMED(i); PUT_MARK(VM(i), own[i], named); mark_written(); isaw[i] = SAME; pc[i] = RECORD }
		:: d_step { !HOLDS(isaw[i], mark) -> fail(i); skip }
#endif
		:: d_step { FAULT -> SPEND; fail(i); skip }
		fi }
#endif

	/* Step 6: all who may write are in the record, only then `cont`. */
	:: atomic { pc[i] == RECORD ->
		send(i, RECORD);
		if
		:: d_step { MAY_RECORD(i) && CLAIMED(i) ->
			named = ALL_WRITERS(i); put_record(VM(i), named); fsaw[i] = SAME;
#ifdef RESTORE
			writers[i] = fence[VM(i)];
#endif
#ifdef M_RECORD_AFTER_CONT
			runs(i) }
#else
			pc[i] = CONT }
#endif
		:: d_step { !(MAY_RECORD(i) && CLAIMED(i)) -> fail(i); skip }
		:: d_step { FAULT -> SPEND; fail(i); skip }
		fi }
	:: d_step { pc[i] == CONT ->
		let_write(qemu[i]);
#if DISKS == 2
		let_write(added[i]);
#endif
#ifdef M_RECORD_AFTER_CONT
		pc[i] = RECORD }
#else
		runs(i) }
#endif
	:: d_step { pc[i] == CONT && FAULT -> SPEND; fail(i); skip }

	/* Holding: the lock is taken again when nobody has it and nothing of ours has changed. */
#ifdef M_AGAIN_LOCK_ONLY
#define MAY_LOCK_AGAIN(i) (lock[VM(i)] == ABSENT)
#else
#define MAY_LOCK_AGAIN(i) (lock[VM(i)] == ABSENT && esaw[i] && RECORD_SAME(i) && CLAIMED(i))
#endif
	:: atomic { (pc[i] == RUN || pc[i] == RESTART || pc[i] == RELEASE) && MAY_LOCK_AGAIN(i) ->
		if
		:: d_step {
			lock[VM(i)] = i + 1;
#ifdef M_AGAIN_LOCK_ONLY
			esaw[i] = true; fsaw[i] = SIGHT(recorded[VM(i)]); csaw[i] = SIGHT(claim[HOME(VM(i))])
#endif
		   }
		:: FAULT -> d_step { SPEND }; send(i, AGAIN)
		fi }

#ifdef RESTORE
	/* etcd knows less than the owner: it writes its own records back, if nobody has written meanwhile. */
#define AS_READ(i) ((lock[VM(i)] == ABSENT || LOCKED(i)) && esaw[i] && RECORD_SAME(i) && CLAIMED(i))
#define FORGOTTEN(i) ((lock[VM(i)] == ABSENT || LOCKED(i)) && epoch[VM(i)] <= own[i] && !AS_READ(i))
	:: d_step { (pc[i] == RUN || pc[i] == RESTART) && restored && FORGOTTEN(i) ->
		ended[i] = pc[i] == RESTART;
		esaw[i] = true; fsaw[i] = SIGHT(recorded[VM(i)]); csaw[i] = SIGHT(claim[HOME(VM(i))]);
		pc[i] = WRITE_BACK }
#ifdef M_WRITE_BACK_UNCOMPARED
#define MAY_WRITE_BACK(i) true
#else
#define MAY_WRITE_BACK(i) AS_READ(i)
#endif
	:: atomic { pc[i] == WRITE_BACK ->
		if
		:: d_step { MAY_WRITE_BACK(i) ->
			newer_was_hidden = newer_was_hidden || epoch[VM(i)] > own[i];
			assert(!newer_was_hidden);
			epoch[VM(i)] = own[i]; epoch_written(VM(i)); esaw[i] = true;
			named = writers[i]; put_record(VM(i), named); fsaw[i] = SAME;
			claim[HOME(VM(i))] = VM(i) + 1; claim_written(HOME(VM(i))); csaw[i] = SAME;
			lock[VM(i)] = i + 1; written_back(i) }
		:: d_step { !MAY_WRITE_BACK(i) -> esaw[i] = false; fsaw[i] = STALE; csaw[i] = STALE; written_back(i) }
		:: d_step { FAULT -> SPEND; esaw[i] = false; fsaw[i] = STALE; csaw[i] = STALE; written_back(i) }
		fi }
#ifdef M_JUDGED_BY_REVISION
#define NEWER_OWNER(i) !esaw[i]
#else
#define NEWER_OWNER(i) (!esaw[i] && epoch[VM(i)] > own[i])
#endif
#else
#define NEWER_OWNER(i) !esaw[i]
#endif

	/* Another epoch, or shut out: killed. The lock, if it is there, ends with its lease. */
	:: d_step { (pc[i] == RUN || pc[i] == RESTART) &&
		(NEWER_OWNER(i) || (pc[i] == RUN && (qemu[i] == FENCED || ADDED(i) == FENCED))) ->
#ifdef RESTORE
		owner_was_killed = owner_was_killed || (LIVE(qemu[i]) && epoch[VM(i)] <= own[i]);
		assert(!owner_was_killed);
#endif
		if :: LOCKED(i) -> lock[VM(i)] = GHOST :: else fi;
		leave(i, STANDBY) }

#if DISKS == 2
	/* A record whose reply was lost is read back: with the epoch ours, nobody else has written it. */
	:: d_step { (pc[i] == RUN || pc[i] == RESTART) && esaw[i] && !RECORD_SAME(i) -> fsaw[i] = SIGHT(recorded[VM(i)]) }

	/* A disk is added: steps 2 to 6 for it. */
	:: d_step { pc[i] == RUN && VM(i) == 0 && OURS(i) && !added[i] && FAULT ->
		SPEND;
		hot[i] = true; hsaw[i] = SIGHT(claim[1]); pc[i] = CLAIM }
#endif

	/* QEMU has crashed: restarted in place, same lock, same epoch, after its last writes are shut out. */
	:: d_step { pc[i] == RUN && FAULT ->
		SPEND;
#ifndef M_RESTART_UNFENCED
		gathered[i] = BITS(qemu[i]) | BITS(ADDED(i));
#endif
		mark_orphan(qemu[i]);
#if DISKS == 2
		mark_orphan(added[i]);
#endif
		pc[i] = RESTART }
	:: d_step { pc[i] == RESTART && OURS(i) && gathered[i] -> lowest(gathered[i]); shut_out(i, x); skip }
	:: d_step { pc[i] == RESTART && OURS(i) && !gathered[i] -> spawn(i); skip }
	:: d_step { pc[i] == RESTART && FAULT -> SPEND; pc[i] = ABANDON }

	/* Letting go: QEMU closes its disks, or is killed and shut out; nobody of the record may write. */
	:: d_step { pc[i] == RUN && RECORD_SAME(i) && FAULT ->
		SPEND;
		close(qemu[i]);
#if DISKS == 2
		close(added[i]);
#endif
#ifndef M_RELEASE_LEFTOVER
		gathered[i] = fence[VM(i)];
#endif
		pc[i] = PARTING }
	:: d_step { pc[i] == RUN && RECORD_SAME(i) && FAULT ->
		SPEND;
#ifdef M_RELEASE_LEFTOVER
		gathered[i] = BITS(qemu[i]) | BITS(ADDED(i));
#elif !defined(M_RELEASE_UNFENCED)
		gathered[i] = fence[VM(i)];
#endif
		kill_all(i);
		pc[i] = PARTING }
	:: d_step { pc[i] == PARTING && gathered[i] -> lowest(gathered[i]); shut_out(i, x); skip }
#ifdef IMAGE
	:: d_step { pc[i] == PARTING && !gathered[i] -> pc[i] = UNMARK }
	/* The image is let go after its last writer, and before etcd's records. */
	:: atomic { pc[i] == UNMARK ->
		send(i, UNMARK);
		if
		:: d_step { HOLDS(isaw[i], mark) ->
			mark = ABSENT; named_there = 0;
#ifdef RESTORE
			marked_epoch = 0;
#endif
			mark_written(); isaw[i] = NONE; pc[i] = RELEASE }
		:: d_step { !HOLDS(isaw[i], mark) -> pc[i] = ABANDON }
		:: d_step { FAULT -> SPEND; pc[i] = ABANDON }
		fi }
#else
	:: d_step { pc[i] == PARTING && !gathered[i] -> pc[i] = RELEASE }
#endif
	:: d_step { pc[i] == PARTING && FAULT -> SPEND; pc[i] = ABANDON }
#define MAY_RELEASE(i) (OURS(i) && CLAIMED(i))
	:: atomic { pc[i] == RELEASE && !MAY_LOCK_AGAIN(i) ->
#if DISKS == 2
#define HSIGHT(i) hsaw[i]
#define KHSIGHT(k) khclaim[k]
#else
#define HSIGHT(i) UNNAMED
#define KHSIGHT(k) UNNAMED
#endif
		send(i, RELEASE);
		if
		:: d_step { MAY_RELEASE(i) -> delete_records(VM(i), HSIGHT(i)); pc[i] = ABANDON }
		:: d_step { !MAY_RELEASE(i) -> pc[i] = ABANDON }
		:: d_step { FAULT -> SPEND; pc[i] = ABANDON }
		fi }

	/* The lease is revoked last; or that request is lost, and it runs out. */
	:: d_step { pc[i] == ABANDON ->
		kill_all(i);
		if :: LOCKED(i) -> lock_gone(VM(i)) :: else fi;
		leave(i, STANDBY) }
	:: d_step { pc[i] == ABANDON && FAULT && LOCKED(i) ->
		SPEND;
		lock[VM(i)] = GHOST;
		leave(i, STANDBY) }

#ifdef M_MARK_RELEASED_EARLY
	:: d_step { pc[i] == RUN && FAULT && HOLDS(isaw[i], mark) ->
		SPEND; mark = ABSENT; named_there = 0; mark_written(); isaw[i] = NONE }
#endif

	/* A crash of the launcher or its host, at any step. What was let write may go on, or be frozen. */
	:: atomic { pc[i] != STANDBY && pc[i] != DOWN && FAULT ->
		d_step { SPEND; if :: LOCKED(i) -> lock[VM(i)] = GHOST :: else fi };
		if
		:: d_step { leave(i, STANDBY) }
#ifdef FAULTS
		:: d_step { i != 0 -> leave(i, DOWN) }  /* for good; launcher 0 is the one that lives */
#endif
		fi }
	od
}

/* A lease ends: nobody renews it, or it runs out while its launcher believes that it holds. */
#ifdef M_LEASE_STAYS
#define RUNS_OUT(v) false
#else
#define RUNS_OUT(v) (lock[v] == GHOST)
#endif
#define EXPIRES(v) d_step { RUNS_OUT(v) -> lock_gone(v); skip } \
	:: d_step { lock[v] != ABSENT && lock[v] != GHOST && FAULT -> SPEND; lock_gone(v); skip }

#ifdef LOOKS  /* who has it open and may not write yet looks again before he does */
#define REPLACED(j) (state[j] == OPEN)
#else
#define REPLACED(j) state[j]
#endif
#define OLDER(c) (superseded[c] || stamp[c] < NEWEST(OF(c), ON(c)))

inline write(c)
{
	if :: OLDER(c) -> older_has_written = true :: else fi;
	assert(!older_has_written);
	written[c] = true;
	NEWEST(OF(c), ON(c)) = stamp[c];
	for (j : 0 .. CLIENTS - 1) {
		if
		:: j != c && REPLACED(j) && ON(j) == ON(c) &&
		   (OF(j) != OF(c) || stamp[j] < stamp[c] || (stamp[j] == stamp[c] && orphan[j] && !orphan[c])) ->
			superseded[j] = true
		:: else
		fi
	}
}

/* A write that can change nothing in the model is left out. */
#define WRITES(c) d_step { state[c] == OPEN && (!written[c] || OLDER(c)) -> write(c); skip }

#ifdef RESTORE
#define KEPOCH(k) kepoch[k]
/* etcd as it was at the snapshot, or empty. Its servers were stopped, so no request to it is under way. */
inline restore()
{
	lock[0] = shot_lock; epoch[0] = shot_epoch; recorded[0] = shot_recorded; fence[0] = shot_fence; claim[0] = shot_claim;
	for (j : 0 .. LAUNCHERS - 1) {
		esaw[j] = (esaw[j] -> eclean : eshot[j]);
		fsaw[j] = (fsaw[j] == SAME -> (fclean -> SAME : STALE) : (fsaw[j] == STALE -> fshot[j] : fsaw[j]));
		csaw[j] = (csaw[j] == SAME -> (cclean -> SAME : STALE) : (csaw[j] == STALE -> cshot[j] : csaw[j]));
		eshot[j] = false; fshot[j] = 0; cshot[j] = 0
	}
	for (m : 0 .. COPIES - 1) { if :: kind[m] && !TO_IMAGE(m) -> drop(m) :: else fi }
	restored = true; shot = true;
	shot_lock = 0; shot_epoch = 0; shot_recorded = false; shot_fence = 0; shot_claim = 0
}
#else
#define KEPOCH(k) 0
#endif

inline arrive(k)
{
	e = sender[k];
	if
	:: kind[k] == TAKE && lock[VM(e)] == ABSENT -> lock[VM(e)] = GHOST
#ifdef M_EPOCH_UNCOMPARED
	:: kind[k] == RAISE -> epoch[VM(e)] = kepoch[k]; epoch_written(VM(e))
#else
	:: kind[k] == RAISE -> epoch[VM(e)]++; x = VM(e); epoch_written(x)
#endif
	:: kind[k] == CLAIM && (HOLDS(KSIGHT_OF_CLAIM(k), claim[KDISK(k)]) || UNGUARDED_CLAIM(k)) ->
		claim[KDISK(k)] = VM(e) + 1; x = KDISK(k); claim_written(x)
	:: kind[k] == OWN_WRITER && (HOLDS(kfence[k], recorded[VM(e)]) || !COMPARES_RECORD(k)) ->
		x = VM(e); put_record(x, kset[k])
	:: kind[k] == RECORD && KCLAIMED(k) && (HOLDS(kfence[k], recorded[VM(e)]) || !COMPARES_RECORD(k)) ->
		x = VM(e); put_record(x, kset[k])
	:: kind[k] == RELEASE && (KCLAIMED(k) || UNGUARDED_DELETE(k)) ->
		x = VM(e); delete_records(x, KHSIGHT(k))
	:: kind[k] == AGAIN && lock[VM(e)] == ABSENT &&
	   (UNGUARDED_AGAIN(k) || (HOLDS(kfence[k], recorded[VM(e)]) && KCLAIMED(k))) ->
		lock[VM(e)] = (own[e] && esaw[e] -> e + 1 : GHOST)
#ifdef IMAGE
	:: kind[k] == MARK && HOLDS(kmark[k], mark) -> PUT_MARK(VM(e), KEPOCH(k), kset[k]); mark_written()
	:: kind[k] == NAME && HOLDS(kmark[k], mark) -> PUT_MARK(VM(e), KEPOCH(k), kset[k]); mark_written()
	:: kind[k] == UNMARK && HOLDS(kmark[k], mark) ->
		mark = ABSENT; named_there = 0;
#ifdef RESTORE
		marked_epoch = 0;
#endif
		mark_written()
#endif
#if VMS == 2
	:: kind[k] == TAKE_OVER && lock[1 - VM(e)] == ABSENT && HOLDS(kxfence[k], recorded[1 - VM(e)]) &&
	   HOLDS(kfence[k], recorded[VM(e)]) && HOLDS(KSIGHT_OF_CLAIM(k), claim[KDISK(k)]) ->
		used = VM(e); put_record(used, kset[k]);
		claim[KDISK(k)] = VM(e) + 1; x = KDISK(k); claim_written(x);
#ifndef M_TAKE_OVER_EPOCH_KEPT
		x = 1 - VM(e); epoch[x]++; epoch_written(x)
#endif
#endif
	:: else
	fi;
	drop(k)
}

#define DELIVERS(k) d_step { kind[k] -> arrive(k) } \
	:: d_step { kind[k] -> drop(k) }

proctype World()
{
end:	do
	:: EXPIRES(0)
#if VMS == 2
	:: EXPIRES(1)
#endif
	:: WRITES(0)
	:: WRITES(1)
	:: WRITES(2)
#if CLIENTS > 3
	:: WRITES(3)
#endif
#if CLIENTS > 4
	:: WRITES(4)
#endif
#if CLIENTS > 5
	:: WRITES(5)
#endif
#if CLIENTS > 6
	:: WRITES(6)
#endif
#if CLIENTS > 7
	:: WRITES(7)
#endif
#ifdef RESTORE
	:: d_step { !shot && !restored ->
		shot = true; shot_lock = lock[0]; shot_epoch = epoch[0]; shot_recorded = recorded[0];
		shot_fence = fence[0]; shot_claim = claim[0];
		eclean = true; fclean = true; cclean = true;
		for (j : 0 .. LAUNCHERS - 1) { eshot[j] = false; fshot[j] = 0; cshot[j] = 0 }
		skip }
	:: d_step { !restored -> restore(); skip }
#endif
#ifdef CLONES
	:: d_step { FAULT -> SPEND;  /* whatever of VM 0 the copies in its image may name */
		carried = 0;
		for (j : 0 .. CLIENTS - 1) { if :: state[j] && OF(j) == 0 -> carried = carried | BIT(j) :: else fi }
		skip }
#endif
	:: DELIVERS(0)
#if COPIES > 1
	:: DELIVERS(1)
#endif
#if COPIES > 2
	:: DELIVERS(2)
#endif
#ifdef M_ENTRY_EXPIRES
	:: d_step { state[0] == BLOCKED -> state[0] = OPEN }
	:: d_step { state[1] == BLOCKED -> state[1] = OPEN }
	:: d_step { state[2] == BLOCKED -> state[2] = OPEN }
#endif
	od
}

#ifdef FAULTS
#define RUNS(i) (pc[i] == RUN && OURS(i) && LIVE(qemu[i]) && state[qemu[i] - 1] == OPEN)

bool stands_still;

/* Nothing is left to do for anybody: the VM must run. (A run with FAULTS has no cycles, see runs.py:
 * so every run gets here.) Reaching EPOCHS would be the model's own limit, and is excluded, too. */
active proctype End()
{
	timeout ->
	assert(epoch[0] < EPOCHS);
	stands_still = !(RUNS(0) || RUNS(1)
#if LAUNCHERS > 2
	                 || RUNS(2)
#endif
	);
#ifdef LOOKS  /* a client of the other tree's may stay for ever */
	stands_still = false;
#elif defined(TREES)  /* the other tree has the image, and has gone: a person decides */
	stands_still = stands_still && mark != 2;
#endif
#ifdef RESTORE  /* the image knows of a later epoch, and its owner is gone: a person decides */
	stands_still = stands_still && !(mark && marked_epoch > epoch[0]);
#endif
	assert(!stands_still)
}
#endif

init
{
	atomic {
		run World();
		run Launcher(0);
		run Launcher(1)
#if LAUNCHERS > 2
		; run Launcher(2)
#endif
	}
}
