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
#if VMS == 2 && DISKS == 2
#define HOME(v) (v)
#else
#define HOME(v) 0
#endif
#if DISKS == 2
#define HOT(i) hot[i]
#define DISK(i) (hot[i] -> 1 : HOME(VM(i)))
#else
#define HOT(i) false
#define DISK(i) 0
#endif

/* ---- etcd ---- */

#define ABSENT 0
#define GHOST (LAUNCHERS + 1)  /* on a lease that nobody renews: its launcher crashed or gave up */

byte lock[VMS];        /* ABSENT, launcher + 1, or GHOST */
byte epoch[VMS];
bool recorded[VMS];    /* the key `fence` is there ... */
byte fence[VMS];       /* ... and names these clients */
byte claim[DISKS];     /* ABSENT or VM + 1 */

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
#else
#define ON(x) 0
#endif
byte newest[VMS * DISKS];  /* the highest epoch of the VM that has written the disk */
#define NEWEST(v, d) newest[(v) * DISKS + (d)]

bool older_has_written;    /* the invariant's negation */
bool owner_was_shut_out;   /* by somebody with an older epoch */

/* ---- launchers ---- */

mtype = { DOWN, STANDBY, TAKE, RAISE, CLAIM, TAKE_OVER, GATHER, VERIFY, BLOCK, STORAGE, OWN_WRITER,
          WORK, RECORD, CONT, RUN, RESTART, PARTING, RELEASE, ABANDON, AGAIN, EARLY };

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
#define CLAIMED(i) HOLDS(csaw[i], claim[0])
#define KCLAIMED(k) HOLDS(kclaim[k], claim[0])
#define SIGHT_OF_CLAIM(i) csaw[i]
#define KSIGHT_OF_CLAIM(k) kclaim[k]
#define KDISK(k) 0
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
#ifdef M_EPOCH_UNCOMPARED
	kepoch[k] = 0;
#endif
}

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
		:: kind[m] && VM(sender[m]) == v && kind[m] != TAKE && kind[m] != AGAIN &&
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
		if :: VM(j) == v -> esaw[j] = false :: else fi;
#if VMS == 2
		if :: VM(j) != v -> xesaw[j] = false :: else fi;
#endif
	}
	for (m : 0 .. COPIES - 1) {
		if
		:: kind[m] && VM(sender[m]) == v &&
		   !UNGUARDED_DELETE(m) && !UNGUARDED_RAISE(m) && !UNGUARDED_AGAIN(m) -> drop(m)
#if VMS == 2
		:: kind[m] == TAKE_OVER && VM(sender[m]) != v -> drop(m)
#endif
		:: else
		fi
	}
	squeeze(v)
}

inline fence_written(v)
{
	for (j : 0 .. LAUNCHERS - 1) {
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
}

inline claim_written(d)
{
	for (j : 0 .. LAUNCHERS - 1) {
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
}

inline shut_out(i, c)
{
#if !defined(MUTANT) || defined(M_VERIFY_BEFORE_GATHER) || defined(M_FENCE_BEFORE_CLAIM)
	if
	:: OF(c) == VM(i) && stamp[c] > own[i] -> owner_was_shut_out = true
	:: else
	fi;
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
	state[x] = how; stamp[x] = own[i]; handle = x + 1;
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
#else
	pc[i] = RECORD
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

/* The order of the steps, as it is and as a mutant has it. */
#ifdef M_FENCE_BEFORE_CLAIM
#define FROM_EPOCH GATHER
#define FROM_BLOCK (HOT(i) -> STORAGE : CLAIM)
#define FROM_CLAIM (HOT(i) -> GATHER : STORAGE)
#else
#define FROM_EPOCH CLAIM
#define FROM_BLOCK STORAGE
#define FROM_CLAIM FIRST
#endif
#ifdef M_VERIFY_BEFORE_GATHER
#define FIRST VERIFY
#define THEN GATHER
#else
#define FIRST GATHER
#define THEN VERIFY
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
		pc[i] = TAKE }

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

	/* Step 3: gather, then make sure that we are the owner, then shut out what was gathered. */
#if defined(M_NO_FENCE) || defined(M_FENCE_BEFORE_LOCK)
	:: d_step { pc[i] == FIRST -> fsaw[i] = SIGHT(recorded[VM(i)]); pc[i] = STORAGE }
#else
	:: atomic { pc[i] == GATHER ->
		d_step {
#ifdef GATHER_AT_LOCK
			if
			:: !HOT(i)
			:: else ->
				fsaw[i] = SIGHT(recorded[VM(i)]);
				gathered[i] = fence[VM(i)]
			fi;
#else
			fsaw[i] = SIGHT(recorded[VM(i)]);
			gathered[i] = fence[VM(i)];
#endif
			pc[i] = (THEN == VERIFY -> VERIFY : BLOCK)
		};
		if
		:: true
		:: d_step {  /* lockers of the disk whose watcher has become invisible */
			for (j : 0 .. CLIENTS - 1) {
				if :: state[j] == OPEN && ON(j) == DISK(i) -> gathered[i] = gathered[i] | BIT(j) :: else fi
			}
			skip }
		fi;
		d_step { gathered[i] = gathered[i] & ~(BITS(qemu[i]) | BITS(ADDED(i))) } }
	:: d_step { pc[i] == VERIFY ->
		if
		:: OURS(i) -> pc[i] = (THEN == VERIFY -> BLOCK : GATHER)
		:: else -> fsaw[i] = STALE; fail(i)  /* what was read may be a newer owner's */
		fi;
		skip }
	:: d_step { pc[i] == BLOCK && gathered[i] -> lowest(gathered[i]); shut_out(i, x); skip }
	:: d_step { pc[i] == BLOCK && !gathered[i] -> pc[i] = FROM_BLOCK }
	:: d_step { (pc[i] == GATHER || pc[i] == BLOCK) && FAULT -> SPEND; fail(i); skip }
#endif

	/* Step 4: our own writer before QEMU: it is recorded before it writes. */
	:: d_step { pc[i] == STORAGE -> spawn(i); skip }  /* nothing to create, import or grow */
#ifdef M_STORAGE_UNRECORDED
	:: d_step { pc[i] == STORAGE && FAULT ->
		SPEND; connect(i, worker[i], DISK(i), OPEN); pc[i] = WORK }
#else
	:: d_step { pc[i] == STORAGE && FAULT ->
		SPEND; connect(i, worker[i], DISK(i), MUTE); pc[i] = OWN_WRITER }
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
			let_write(worker[i]);
			pc[i] = WORK }
		:: d_step { !MAY_RECORD(i) -> fail(i); skip }
		:: d_step { FAULT -> SPEND; fail(i); skip }
		fi }
	:: d_step { pc[i] == WORK -> close(worker[i]); spawn(i); skip }
	:: d_step { pc[i] == WORK && FAULT -> SPEND; fail(i); skip }

	/* Step 6: all who may write are in the record, only then `cont`. */
	:: atomic { pc[i] == RECORD ->
		send(i, RECORD);
		if
		:: d_step { MAY_RECORD(i) && CLAIMED(i) ->
			named = ALL_WRITERS(i); put_record(VM(i), named); fsaw[i] = SAME;
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

	/* Another epoch, or shut out: killed. The lock, if it is there, ends with its lease. */
	:: d_step { (pc[i] == RUN || pc[i] == RESTART) &&
		(!esaw[i] || (pc[i] == RUN && (qemu[i] == FENCED || ADDED(i) == FENCED))) ->
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
	:: d_step { pc[i] == PARTING && !gathered[i] -> pc[i] = RELEASE }
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

#define OLDER(c) (superseded[c] || stamp[c] < NEWEST(OF(c), ON(c)))

inline write(c)
{
	if :: OLDER(c) -> older_has_written = true :: else fi;
	assert(!older_has_written);
	written[c] = true;
	NEWEST(OF(c), ON(c)) = stamp[c];
	for (j : 0 .. CLIENTS - 1) {
		if
		:: j != c && state[j] && ON(j) == ON(c) &&
		   (OF(j) != OF(c) || stamp[j] < stamp[c] || (stamp[j] == stamp[c] && orphan[j] && !orphan[c])) ->
			superseded[j] = true
		:: else
		fi
	}
}

/* A write that can change nothing in the model is left out. */
#define WRITES(c) d_step { state[c] == OPEN && (!written[c] || OLDER(c)) -> write(c); skip }

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
