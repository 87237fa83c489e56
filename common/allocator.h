// Allocator: how the process gives ram back.
#ifndef MNEME_COMMON_ALLOCATOR_H_
#define MNEME_COMMON_ALLOCATOR_H_

namespace mneme {

// Keeps up to 256 MiB that was freed instead of giving it back to the system at once. Called by a program before its
// threads start.
//
// By default glibc maps every block of more than 128 KiB and unmaps it when it is freed. A search for a thousand
// neighbours takes several such blocks for each batch, and the page faults of all threads wait for one lock: two
// threads then cost 1.4 times the processor time of one for the same work, with this 1.06 (P16 in docs/performance.md).
void KeepFreedRam();

// Gives back what was freed up to now, wherever it lies: milliseconds a GiB. Called once a program did what it does
// only once, as reading its log again, or held far more than it does, so that what this took is not counted as kept.
void GiveBackFreedRam();

}  // namespace mneme

#endif  // MNEME_COMMON_ALLOCATOR_H_
