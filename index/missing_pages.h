// MissingPages: whether the searches of a thread have waited for the disk lately.
//
// The kernel counts what a thread read (getrusage: a third of a microsecond), waited for or asked for ahead. Reading
// ahead costs a system call for each run of pages, so it is done only while pages are missing.
#ifndef MNEME_INDEX_MISSING_PAGES_H_
#define MNEME_INDEX_MISSING_PAGES_H_

#include <cstdint>

namespace mneme {

// Not thread-safe; of one thread.
class MissingPages {
 public:
  static MissingPages& OfThisThread();

  // True once some pages had to be read between two looks, until several looks one after another found next to none.
  bool Look();
  // The same without asking the kernel.
  bool lately() const { return missing_; }
  // Takes `pages` that were read since the last look.
  bool Take(uint64_t pages);

 private:
  uint64_t faults_ = 0;
  uint64_t sectors_ = 0;
  double recent_ = 0.0;
  bool missing_ = false;
};

}  // namespace mneme

#endif  // MNEME_INDEX_MISSING_PAGES_H_
