#include "index/read_ahead.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

namespace mneme {
namespace {

uintptr_t PageBytes() {
  static const uintptr_t bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}

PageRun PagesOf(const ByteRange& range) {
  const uintptr_t page = PageBytes();
  const uintptr_t first = reinterpret_cast<uintptr_t>(range.first);
  if (range.bytes == 0) return {first / page * page, first / page * page};
  return {first / page * page, (first + range.bytes + page - 1) / page * page};
}

class MadviseAdvice : public PageAdvice {
 public:
  void Need(const PageRun& pages) override { Advise(pages, MADV_WILLNEED); }
  void Forget(const PageRun& pages) override { Advise(pages, MADV_COLD); }

 private:
  static void Advise(const PageRun& pages, int advice) {
    ::madvise(reinterpret_cast<void*>(pages.begin), pages.end - pages.begin, advice);
  }
};

}  // namespace

PageAdvice& KernelAdvice() {
  static MadviseAdvice advice;
  return advice;
}

ReadAhead::ReadAhead(absl::Span<const ByteRange> ranges, bool read_once, size_t ahead_bytes, PageAdvice& advice)
    : read_once_(read_once), ahead_bytes_(ahead_bytes), advice_(advice) {
  pages_.reserve(ranges.size());
  PageRun last;
  for (const ByteRange& range : ranges) {
    PageRun pages = PagesOf(range);
    // What goes beyond is left to the kernel, which sees that it is read in order.
    pages.end = std::min<uintptr_t>(pages.end, pages.begin + ahead_bytes / PageBytes() * PageBytes());
    if (pages.begin == pages.end) {
      pages_.push_back(pages);
      continue;
    }
    const bool follows = pages.begin >= last.begin && pages.begin <= last.end + kReadAcrossBytes && !pages_.empty();
    if (follows) pages = {last.end, std::max(last.end, pages.end)};
    last = {follows ? last.begin : pages.begin, pages.end};
    pages_.push_back(pages);
  }
}

ReadAhead::~ReadAhead() {
  if (read_once_) Advise(reader_, next_, &PageAdvice::Forget);
}

void ReadAhead::Advise(size_t first, size_t end, void (PageAdvice::*advice)(const PageRun&)) {
  PageRun run;
  for (size_t i = first; i < end; ++i) {
    const PageRun& pages = pages_[i];
    if (pages.begin == pages.end) continue;
    if (pages.begin != run.end) {
      if (run.begin != run.end) (advice_.*advice)(run);
      run.begin = pages.begin;
    }
    run.end = pages.end;
  }
  if (run.begin != run.end) (advice_.*advice)(run);
}

void ReadAhead::Refill(size_t i) {
  const auto bytes_of = [this](size_t at) { return pages_[at].end - pages_[at].begin; };
  if (read_once_) Advise(reader_, std::min(i, next_), &PageAdvice::Forget);
  for (; reader_ < i; ++reader_) bytes_ -= reader_ < next_ ? bytes_of(reader_) : 0;
  next_ = std::max(next_, i);
  const size_t asked = next_;
  while (next_ < pages_.size() && (next_ == i || bytes_ + bytes_of(next_) <= ahead_bytes_)) bytes_ += bytes_of(next_++);
  Advise(asked, next_, &PageAdvice::Need);
  refill_at_ = std::numeric_limits<size_t>::max();
  if (next_ == pages_.size() && !read_once_) return;
  size_t half = 0;
  for (refill_at_ = i; refill_at_ < next_ && half < bytes_ / 2; ++refill_at_) half += bytes_of(refill_at_);
  refill_at_ = std::max(refill_at_, i + 1);
}

}  // namespace mneme
