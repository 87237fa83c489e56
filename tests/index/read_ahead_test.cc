#include "index/read_ahead.h"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace mneme {
namespace {

constexpr uint64_t kSeed = 21;

// Writes down what is advised.
class Recorded : public PageAdvice {
 public:
  void Need(const PageRun& pages) override { needed.push_back(pages); }
  void Forget(const PageRun& pages) override { forgotten.push_back(pages); }
  std::vector<PageRun> needed;
  std::vector<PageRun> forgotten;
};

class ReadAheadTest : public ::testing::Test {
 protected:
  const uintptr_t page_ = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t gap_ = kReadAcrossBytes / page_;
  // Nothing is read through these addresses.
  ByteRange Bytes(uintptr_t page, uintptr_t offset, size_t bytes) const {
    return {reinterpret_cast<const char*>((kFirst + page) * page_ + offset), bytes};
  }
  PageRun Pages(uintptr_t first, uintptr_t end) const { return {(kFirst + first) * page_, (kFirst + end) * page_}; }
  static uintptr_t Sum(const std::vector<PageRun>& runs) {
    uintptr_t sum = 0;
    for (const PageRun& run : runs) sum += run.end - run.begin;
    return sum;
  }

  static constexpr uintptr_t kFirst = 1000;
  Recorded recorded_;
};

TEST_F(ReadAheadTest, JoinsRangesThatLieNearEachOtherAndNoOthers) {
  const std::vector<ByteRange> ranges = {Bytes(0, 10, 20),           Bytes(0, 500, 20), Bytes(1, 0, 5),
                                         Bytes(2, page_ - 1, 2),     Bytes(3, 7, 1),    Bytes(9, 0, page_),
                                         Bytes(10, page_ / 2, page_), Bytes(40, 0, 0),  Bytes(12 + gap_, 0, 1),
                                         Bytes(14 + 2 * gap_, 0, 1)};
  ReadAhead ahead(ranges, false, 100 * page_, recorded_);
  ahead.Reach(0);
  EXPECT_EQ(recorded_.needed,
            (std::vector<PageRun>{Pages(0, 4), Pages(9, 13 + gap_), Pages(14 + 2 * gap_, 15 + 2 * gap_)}));
  for (size_t i = 1; i < ranges.size(); ++i) ahead.Reach(i);
  EXPECT_EQ(recorded_.needed.size(), 3U);
  EXPECT_TRUE(recorded_.forgotten.empty());
}

TEST_F(ReadAheadTest, AsksForEveryRangeBeforeItIsReadAndForNoMoreThanTheBoundBeyondTheReader) {
  std::mt19937_64 random(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (int round = 0; round < 200; ++round) {
    const uintptr_t bound = gap_ + 3 + random() % 50;  // no range has more, with the gap before it
    std::vector<ByteRange> ranges;
    uintptr_t at = 0;
    for (size_t i = 0; i < 300; ++i) {
      at += random() % (random() % 4 == 0 ? 20 * page_ : 3 * page_);
      ranges.push_back(Bytes(0, at, random() % (2 * page_)));
    }
    Recorded recorded;
    std::vector<uintptr_t> pages;  // that ranges [0, i] have in all
    uintptr_t end = 0, sum = 0;
    for (const ByteRange& range : ranges) {
      const uintptr_t first = reinterpret_cast<uintptr_t>(range.first);
      uintptr_t from = std::max(end, first / page_);
      if (end != 0 && from <= end + gap_) from = end;
      const uintptr_t last = (first + range.bytes + page_ - 1) / page_;
      if (range.bytes != 0 && last > from) {
        sum += (last - from) * page_;
        end = last;
      }
      pages.push_back(sum);
    }
    {
      ReadAhead ahead(ranges, true, bound * page_, recorded);
      for (size_t i = 0; i < ranges.size(); ++i) {
        if (i + 1 < ranges.size() && random() % 8 == 0) continue;  // a reader may pass over some
        ahead.Reach(i);
        ASSERT_LE(Sum(recorded.needed), (i == 0 ? 0 : pages[i - 1]) + bound * page_);
        if (ranges[i].bytes == 0) continue;
        ASSERT_GE(recorded.needed.back().end, reinterpret_cast<uintptr_t>(ranges[i].first) + ranges[i].bytes);
      }
    }
    EXPECT_EQ(Sum(recorded.needed), Sum(recorded.forgotten));
    for (size_t i = 1; i < recorded.needed.size(); ++i) {
      ASSERT_GE(recorded.needed[i].begin, recorded.needed[i - 1].end) << "a page was asked for twice";
    }
  }
}

TEST_F(ReadAheadTest, AsksInFewAndLongCallsForWhatLiesSideBySide) {
  std::vector<ByteRange> ranges;
  for (uintptr_t i = 0; i < 8000; ++i) ranges.push_back(Bytes(0, 512 * i, 512));
  ReadAhead ahead(ranges, false, 64 * page_, recorded_);
  for (size_t i = 0; i < ranges.size(); ++i) ahead.Reach(i);
  EXPECT_EQ(Sum(recorded_.needed), 1000 * page_);
  EXPECT_LE(recorded_.needed.size(), 1000 / 32 + 1);
}

TEST_F(ReadAheadTest, ForgetsOnlyWhatLiesBehindTheReader) {
  std::vector<ByteRange> ranges;
  for (uintptr_t i = 0; i < 100; ++i) ranges.push_back(Bytes(9 * i, 0, 8));
  {
    ReadAhead ahead(ranges, true, 10 * page_, recorded_);
    for (size_t i = 0; i < 50; ++i) {
      ahead.Reach(i);
      for (const PageRun& run : recorded_.forgotten) ASSERT_LE(run.end, Pages(9 * i, 0).begin);
    }
    EXPECT_GE(recorded_.forgotten.size(), 40U);
  }
  EXPECT_EQ(recorded_.needed, recorded_.forgotten) << "in the end all that was asked for";
}

TEST_F(ReadAheadTest, AsksForTheBoundOfARangeThatIsLonger) {
  const std::vector<ByteRange> ranges = {Bytes(0, 1, 100 * page_), Bytes(200, 0, 100 * page_)};
  ReadAhead ahead(ranges, false, 10 * page_, recorded_);
  ahead.Reach(0);
  EXPECT_EQ(recorded_.needed, (std::vector<PageRun>{Pages(0, 10)}));
  ahead.Reach(1);
  EXPECT_EQ(recorded_.needed, (std::vector<PageRun>{Pages(0, 10), Pages(200, 210)}));
}

TEST_F(ReadAheadTest, TakesNoRanges) {
  ReadAhead ahead({}, true, page_, recorded_);
  ahead.Reach(0);
  EXPECT_TRUE(recorded_.needed.empty());
}

TEST_F(ReadAheadTest, KernelTakesTheAdviceAndTheBytesStay) {
  char pattern[] = "/tmp/mneme_read_ahead_XXXXXX";
  const int file = ::mkstemp(pattern);
  ASSERT_GE(file, 0);
  ::unlink(pattern);
  const std::vector<char> bytes(64 * page_, 'x');
  ASSERT_EQ(::write(file, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  void* const map = ::mmap(nullptr, bytes.size(), PROT_READ, MAP_PRIVATE, file, 0);
  ASSERT_NE(map, MAP_FAILED);
  const char* const mapped = static_cast<const char*>(map);
  std::vector<ByteRange> ranges;
  for (size_t i = 0; i < 64; i += 2) ranges.push_back({mapped + i * page_ + 5, 100});
  {
    ReadAhead ahead(ranges, true);
    for (size_t i = 0; i < ranges.size(); ++i) {
      ahead.Reach(i);
      EXPECT_EQ(ranges[i].first[99], 'x');
    }
  }
  EXPECT_EQ(ranges[0].first[0], 'x');
  ::munmap(map, bytes.size());
  ::close(file);
}

}  // namespace
}  // namespace mneme
