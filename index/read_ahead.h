// ReadAhead: asks the kernel for pages of mapped files some way ahead of their reader, so that the disk works at many
// at once: a page that a fault waits for is read alone.
//
// 1. Ranges are given in the order in which they will be read; neighbours whose pages lie no further apart than
//    kReadAcrossBytes are one request, gap included.
// 2. No more than `ahead_bytes` of pages are asked for beyond the reader, so that little ram cannot lose them again
//    before they are read.
// 3. Pages behind the reader are marked cold: what is read once (keys) leaves the ram before what every query reads
//    (codes, ids).
#ifndef MNEME_INDEX_READ_AHEAD_H_
#define MNEME_INDEX_READ_AHEAD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace mneme {

// Bytes that will be read. Pages may be read whole.
struct ByteRange {
  const char* first = nullptr;
  size_t bytes = 0;
};

// Whole pages, [begin, end).
struct PageRun {
  uintptr_t begin = 0;
  uintptr_t end = 0;
  friend bool operator==(const PageRun&, const PageRun&) = default;
};

// What is done about pages; a hint each, which may fail.
class PageAdvice {
 public:
  virtual ~PageAdvice() = default;
  virtual void Need(const PageRun& pages) = 0;
  virtual void Forget(const PageRun& pages) = 0;
};

// The kernel's. Thread-safe.
PageAdvice& KernelAdvice();

// Two thousand pages of 4 KiB: more than any disk takes at once, and little beside the ram of a server.
inline constexpr size_t kReadAheadBytes = size_t{8} << 20;

// A gap that is sooner read than sought: a page by itself takes a disk (26 us, measured with many under way) as long as
// seven that follow one another (1.1 GB/s), but the gap takes ram as well. Rows of one list lie side by side, so a
// query of many neighbours wants every other page of it.
inline constexpr size_t kReadAcrossBytes = size_t{16} << 10;

// Not thread-safe. Borrows the advice.
class ReadAhead {
 public:
  // `read_once`: 3 is wanted.
  ReadAhead(absl::Span<const ByteRange> ranges, bool read_once, size_t ahead_bytes = kReadAheadBytes,
            PageAdvice& advice = KernelAdvice());
  // Marks the last pages cold.
  ~ReadAhead();
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // Range `i` is read next; calls ascend.
  void Reach(size_t i) {
    if (i >= refill_at_) Refill(i);
  }

 private:
  void Refill(size_t i);
  // Gives the pages of ranges [first, end), joined, to one of the advices.
  void Advise(size_t first, size_t end, void (PageAdvice::*advice)(const PageRun&));

  const bool read_once_;
  const size_t ahead_bytes_;
  PageAdvice& advice_;
  std::vector<PageRun> pages_;  // of each range, with the gap before it, those that the one before does not have
  size_t reader_ = 0;           // ranges before it are read
  size_t next_ = 0;             // ranges before it were asked for
  size_t bytes_ = 0;            // of pages [reader_, next_)
  size_t refill_at_ = 0;        // half of what was asked for is read there
};

}  // namespace mneme

#endif  // MNEME_INDEX_READ_AHEAD_H_
