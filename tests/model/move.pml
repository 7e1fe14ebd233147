/* How a VM of an older launcher is moved (docs/ownership.md), as a model for spin; runs.py has the bounds.
 *
 * One VM, one disk; launchers of both versions beside each other and after one another. A transaction is one step, and
 * what it compares is a revision: how often a key was written. A lease may run out whenever it exists, and a launcher may
 * die between any two steps. Whoever has begun to write may do so at any later time, dead or alive, until he is
 * shut out or has closed his disk. ownership.pml has what is left out here: late copies of a request, claims, the image.
 *
 * An operator follows the older launcher's own hint and forgets its record there, where it is no owner's; and gives the VM back.
 */

#ifndef OLD
#define OLD 2         /* launchers 0 .. OLD - 1 are older ones */
#endif
#ifndef NEW
#define NEW 2
#endif
#ifndef FAULTS        /* leases that run out, launchers that die, commands of the operator */
#define FAULTS 4
#endif
#define ALL (OLD + NEW)
#define IS_OLD(i) ((i) < OLD)
#define BIT(i) (1 << (i))

#define ABSENT 0
#define TOMBSTONE 100 /* of an epoch: no number */

byte faults = FAULTS;

byte lock;            /* ABSENT or launcher + 1 */
byte epoch = ABSENT, oepoch = ABSENT;  /* ours, and where older ones keep theirs */
bool there, othere, obarred;           /* the records; the older one is a tombstone */
byte clients, heard, oclients;         /* whom they name */
byte erev, frev, oerev, ofrev;         /* how often each was written */

bool writes[ALL];     /* may write to the disk at any time */
bool held_back;       /* an older launcher may take the VM no more */
bool older_has_written;       /* one that came before may write beside one that came after */
bool older_took_a_moved_vm;

mtype = { STANDBY, TAKE, RAISE, SHUT_OUT, RECORD, RUN, AGAIN, DEAD };
mtype pc[ALL] = STANDBY;
byte esaw[ALL], fsaw[ALL], oesaw[ALL], ofsaw[ALL];
byte suspects[ALL];
#ifdef M_MOVED_IN_TWO
byte carried[ALL];
#endif
byte j;

#define OURS(i) (lock == i + 1 && (IS_OLD(i) -> oerev == oesaw[i] : erev == esaw[i]))
#define SAME_OLD(i) (oerev == oesaw[i] && ofrev == ofsaw[i])
#define SAME_NEW(i) (erev == esaw[i] && frev == fsaw[i])
#ifdef M_OLD_PLACES_UNCOMPARED
#define SAME(i) (IS_OLD(i) -> SAME_OLD(i) : SAME_NEW(i))
#else
#define SAME(i) (IS_OLD(i) -> SAME_OLD(i) : SAME_NEW(i) && SAME_OLD(i))
#endif
#define HIGHER (oepoch != TOMBSTONE && oepoch > epoch -> oepoch : epoch)

inline look(i)
{
	esaw[i] = erev; fsaw[i] = frev; oesaw[i] = oerev; ofsaw[i] = ofrev;
	suspects[i] = (IS_OLD(i) -> oclients : clients | heard | oclients)
}

inline give_up(i)
{
	if :: lock == i + 1 -> lock = ABSENT :: else fi;
	suspects[i] = 0; esaw[i] = 0; fsaw[i] = 0; oesaw[i] = 0; ofsaw[i] = 0;
#ifdef M_MOVED_IN_TWO
	carried[i] = 0;
#endif
	pc[i] = STANDBY
}

inline raise(i)
{
	if
	:: IS_OLD(i) && oepoch == TOMBSTONE -> give_up(i)  /* it is no number */
	:: IS_OLD(i) && oepoch != TOMBSTONE ->
		if :: held_back -> older_took_a_moved_vm = true :: else fi;
		oepoch++; oerev++; oesaw[i] = oerev; pc[i] = SHUT_OUT
	:: !IS_OLD(i) ->
		epoch = HIGHER + 1; erev++; esaw[i] = erev;
#ifndef M_EPOCH_LEFT
		if :: oepoch != TOMBSTONE -> oepoch = TOMBSTONE; oerev++ :: else fi;
#endif
		oesaw[i] = oerev;
		if
		:: othere ->
#if defined(M_MOVED_IN_TWO)
			carried[i] = oclients;
#elif !defined(M_RECORD_LEFT_OUT)
			there = true; heard = heard | oclients; frev++; fsaw[i] = frev;
#endif
			skip
		:: else
		fi;
		othere = false; oclients = 0;
		if :: !obarred -> obarred = true; ofrev++ :: else fi;
		ofsaw[i] = ofrev;
		held_back = true;
		pc[i] = SHUT_OUT
	fi
}

/* As those who are shut out were read with the lock; the check that it is ours comes first. */
inline shut_out(i)
{
#ifdef M_MOVED_IN_TWO
	if :: carried[i] -> there = true; heard = heard | carried[i]; frev++; fsaw[i] = frev; carried[i] = 0 :: else fi;
#endif
	for (j : 0 .. ALL - 1) {
		if :: suspects[i] & BIT(j) -> writes[j] = false :: else fi
	}
	suspects[i] = 0;
	pc[i] = RECORD
}

inline record(i)
{
	if
	:: IS_OLD(i) && ofrev == ofsaw[i] ->
		othere = true; obarred = false; oclients = BIT(i); ofrev++; ofsaw[i] = ofrev; pc[i] = RUN
	:: !IS_OLD(i) && frev == fsaw[i] ->
		there = true; clients = BIT(i); heard = 0; frev++; fsaw[i] = frev; pc[i] = RUN
	:: else -> give_up(i)
	fi;
	if
	:: pc[i] == RUN ->
		for (j : 0 .. ALL - 1) { if :: j != i && writes[j] -> older_has_written = true :: else fi }
		writes[i] = true
	:: else
	fi
}

inline release(i)
{
	writes[i] = false;
	if
	:: IS_OLD(i) -> othere = false; oclients = 0; ofrev++
	:: else ->
		there = false; clients = 0; heard = 0; frev++;
#ifdef M_TOMBSTONES_RELEASED
		oepoch = ABSENT; oerev++; obarred = false; ofrev++
#endif
	fi;
	give_up(i)
}

#define BARRED(i) (IS_OLD(i) && obarred)

proctype Launcher(byte i)
{
end:	do
	:: d_step { pc[i] == STANDBY && lock == ABSENT && !BARRED(i) && epoch < 6 && (oepoch < 6 || oepoch == TOMBSTONE) ->
		look(i); pc[i] = TAKE }
	:: d_step { pc[i] == TAKE && lock == ABSENT && SAME(i) -> lock = i + 1; pc[i] = RAISE }
	:: d_step { pc[i] == TAKE && !(lock == ABSENT && SAME(i)) -> give_up(i) }
	:: d_step { pc[i] == RAISE && lock == i + 1 && SAME(i) -> raise(i) }
	:: d_step { pc[i] == RAISE && !(lock == i + 1 && SAME(i)) -> give_up(i) }
	:: d_step { pc[i] == SHUT_OUT && OURS(i) -> shut_out(i) }
	:: d_step { pc[i] == RECORD && OURS(i) -> record(i) }
	:: d_step { (pc[i] == SHUT_OUT || pc[i] == RECORD) && !OURS(i) -> give_up(i) }
	:: d_step { pc[i] == RUN && OURS(i) -> release(i) }
	   /* the lock is gone, and nobody has taken the VM */
	:: d_step { pc[i] == RUN && lock == ABSENT && SAME(i) -> lock = i + 1 }
	   /* another owner: QEMU is killed, and what it had under way may still arrive */
	:: d_step { pc[i] == RUN && (IS_OLD(i) -> oerev != oesaw[i] : erev != esaw[i]) -> give_up(i) }
	:: d_step { pc[i] != STANDBY && pc[i] != DEAD && faults -> faults--; pc[i] = DEAD; suspects[i] = 0;
#ifdef M_MOVED_IN_TWO
		carried[i] = 0;
#endif
		skip }
	od
}

proctype World()
{
end:	do
	:: d_step { lock != ABSENT && faults -> faults--; lock = ABSENT }
	   /* an older launcher's own hint */
	:: d_step { lock == ABSENT && obarred && faults -> faults--; obarred = false; ofrev++ }
	   /* the way back */
#ifdef M_DOWNGRADE_UNCLEAN
	:: d_step { lock == ABSENT && epoch && faults ->
#else
	:: d_step { lock == ABSENT && epoch && !there && faults ->
#endif
		faults--;
		oepoch = epoch + 1; oerev++; epoch = ABSENT; erev++; obarred = false; ofrev++; held_back = false }
	od
}

init
{
	d_step { /* it ran before anybody was upgraded, or never */
		if :: oepoch = 1 :: skip fi
	}
	atomic {
		byte n;
		for (n : 0 .. ALL - 1) { run Launcher(n) }
		run World();
	}
}

active proctype Monitor()
{
end:	do
	:: d_step { older_has_written -> assert(!(older_has_written)) }
	:: d_step { older_took_a_moved_vm -> assert(!(older_took_a_moved_vm)) }
	od
}
