#include "index/missing_pages.h"

#include <sys/resource.h>

#include <algorithm>

namespace mneme {
namespace {

// What is remembered halves with every look. A few pages are read in any process now and then, so it takes more than
// that to begin; what is read ahead counts too, so it ends only when hardly anything had to be read.
constexpr double kBegin = 16.0;
constexpr double kEnd = 1.0;
// Bounds the looks until the end after a scan of a whole file.
constexpr double kMost = 4096.0;
constexpr uint64_t kSectorsPerPage = 8;

}  // namespace

MissingPages& MissingPages::OfThisThread() {
  // The kernel's counters are a thread's, and so is what was seen of them.
  thread_local MissingPages pages;
  return pages;
}

bool MissingPages::Look() {
  struct rusage usage;
  if (::getrusage(RUSAGE_THREAD, &usage) != 0) return missing_;
  const uint64_t faults = static_cast<uint64_t>(usage.ru_majflt) - faults_;
  const uint64_t sectors = static_cast<uint64_t>(usage.ru_inblock) - sectors_;
  faults_ += faults;
  sectors_ += sectors;
  // Some file systems count no sectors.
  return Take(std::max(faults, sectors / kSectorsPerPage));
}

bool MissingPages::Take(uint64_t pages) {
  recent_ = std::min(recent_ / 2.0 + static_cast<double>(pages), kMost);
  if (recent_ >= kBegin) missing_ = true;
  if (recent_ < kEnd) missing_ = false;
  return missing_;
}

}  // namespace mneme
