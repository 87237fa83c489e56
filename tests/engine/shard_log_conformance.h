// What every log of a shard does (engine/shard_log.h), as one suite over all of them. A test program includes this once
// and instantiates ShardLogConformance with the logs that it has.
#ifndef MNEME_TESTS_ENGINE_SHARD_LOG_CONFORMANCE_H_
#define MNEME_TESTS_ENGINE_SHARD_LOG_CONFORMANCE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/shard_log.h"

namespace mneme::testing {

// A log of its own, empty, and what its suite does to it from outside.
class LogUnderTest {
 public:
  virtual ~LogUnderTest() = default;
  virtual ShardLog& log() = 0;
  // Has the log forget its oldest records, after appending what that takes; the first offset that it keeps, above 0.
  virtual LogOffset DropFront() = 0;
};

struct LogMaker {
  std::string name;
  std::function<std::unique_ptr<LogUnderTest>()> make;
};

inline void PrintTo(const LogMaker& maker, std::ostream* out) { *out << maker.name; }
inline std::string NameOf(const ::testing::TestParamInfo<LogMaker>& maker) { return maker.param.name; }

// Appends, and waits until it is told.
inline absl::StatusOr<LogOffset> AppendAndWait(ShardLog& log, std::string record) {
  std::promise<absl::StatusOr<LogOffset>> told;
  log.Append(std::move(record), [&told](absl::StatusOr<LogOffset> offset) { told.set_value(std::move(offset)); });
  return told.get_future().get();
}

constexpr std::chrono::seconds kPatience{30};
constexpr size_t kAnyBytes = size_t{1} << 30;

// The next `count` records, and not what else came with them; a failure when they do not come.
inline std::vector<LoggedBytes> Take(LogReader& reader, size_t count, size_t most_bytes = kAnyBytes) {
  std::vector<LoggedBytes> records;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (records.size() < count && std::chrono::steady_clock::now() < end) {
    const absl::Status status = reader.Next(std::chrono::milliseconds(100), most_bytes, records);
    if (status.ok() || absl::IsUnavailable(status)) continue;
    ADD_FAILURE() << status;
    break;
  }
  EXPECT_GE(records.size(), count);
  records.resize(count);
  return records;
}

// The reader's next answer once it reaches its log: a log that was just made may have no leader yet, and whoever reads
// calls again (shard_log.h). How long that answer took.
inline std::chrono::steady_clock::duration NextOnceReached(LogReader& reader, std::chrono::milliseconds wait,
                                                           std::vector<LoggedBytes>& records) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (true) {
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = reader.Next(wait, kAnyBytes, records);
    const auto now = std::chrono::steady_clock::now();
    if (absl::IsUnavailable(status) && records.empty() && now < end) continue;
    EXPECT_TRUE(status.ok()) << status;
    return now - start;
  }
}

// What a reader says that is not to read anything more.
inline absl::Status ErrorOf(LogReader& reader) {
  std::vector<LoggedBytes> records;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < end) {
    const absl::Status status = reader.Next(std::chrono::milliseconds(100), kAnyBytes, records);
    EXPECT_TRUE(records.empty()) << "offset " << records.front().offset;
    if ((!status.ok() && !absl::IsUnavailable(status)) || !records.empty()) return status;
  }
  return absl::DeadlineExceededError("the reader says nothing");
}

class ShardLogConformance : public ::testing::TestWithParam<LogMaker> {
 protected:
  ShardLogConformance() : under_test_(GetParam().make()) {}

  ShardLog& log() { return under_test_->log(); }
  LogUnderTest& under_test() { return *under_test_; }

  LogOffset Put(std::string record) {
    const absl::StatusOr<LogOffset> offset = AppendAndWait(log(), std::move(record));
    EXPECT_TRUE(offset.ok()) << offset.status();
    return offset.value_or(0);
  }
  LogOffset End() {
    const absl::StatusOr<LogOffset> end = log().End({});
    EXPECT_TRUE(end.ok()) << end.status();
    return end.value_or(0);
  }
  LogOffset Begin() {
    const absl::StatusOr<LogOffset> begin = log().Begin({});
    EXPECT_TRUE(begin.ok()) << begin.status();
    return begin.value_or(std::numeric_limits<LogOffset>::max());
  }
  std::unique_ptr<LogReader> Read(LogOffset from) {
    absl::StatusOr<std::unique_ptr<LogReader>> reader = log().Read(from);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return *std::move(reader);
  }
  // What reading from `from` comes to, here or there.
  absl::Status ErrorFrom(LogOffset from) {
    const absl::StatusOr<std::unique_ptr<LogReader>> reader = log().Read(from);
    return reader.ok() ? ErrorOf(**reader) : reader.status();
  }

 private:
  const std::unique_ptr<LogUnderTest> under_test_;
};

TEST_P(ShardLogConformance, AnEmptyLogEndsWhereItBegins) {
  EXPECT_EQ(End(), 0U);
  EXPECT_EQ(Begin(), 0U);
  std::vector<LoggedBytes> records;
  EXPECT_TRUE(Read(0)->Next(std::chrono::milliseconds(10), kAnyBytes, records).ok());
  EXPECT_TRUE(records.empty());
}

TEST_P(ShardLogConformance, RecordsAreReadInTheirOrderAtTheOffsetsThatWereTold) {
  std::vector<LogOffset> offsets;
  for (int i = 0; i < 20; ++i) offsets.push_back(Put(absl::StrCat("record ", i)));
  EXPECT_EQ(std::adjacent_find(offsets.begin(), offsets.end(), std::greater_equal<>()), offsets.end()) << "they ascend";
  EXPECT_EQ(End(), offsets.back() + 1);
  const std::vector<LoggedBytes> records = Take(*Read(0), 20);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].offset, offsets[i]);
    EXPECT_EQ(records[i].bytes, absl::StrCat("record ", i));
  }
}

TEST_P(ShardLogConformance, RecordsThatOneThreadAppendsAtOnceKeepTheirOrder) {
  constexpr size_t kRecords = 500;
  std::vector<std::promise<absl::StatusOr<LogOffset>>> told(kRecords);
  for (size_t i = 0; i < kRecords; ++i) {
    log().Append(absl::StrCat(i), [&told, i](absl::StatusOr<LogOffset> offset) {
      told[i].set_value(std::move(offset));
    });
  }
  std::vector<LogOffset> offsets;
  for (auto& each : told) {
    const absl::StatusOr<LogOffset> offset = each.get_future().get();
    ASSERT_TRUE(offset.ok()) << offset.status();
    offsets.push_back(*offset);
  }
  const std::vector<LoggedBytes> records = Take(*Read(0), kRecords);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].offset, offsets[i]);
    EXPECT_EQ(records[i].bytes, absl::StrCat(i));
  }
}

TEST_P(ShardLogConformance, WhoAppendsIsToldOnAnotherThread) {
  for (const size_t bytes : {size_t{1}, log().most_record_bytes() + 1}) {
    std::promise<std::thread::id> teller;
    log().Append(std::string(bytes, 'x'),
                 [&](const absl::StatusOr<LogOffset>&) { teller.set_value(std::this_thread::get_id()); });
    EXPECT_NE(teller.get_future().get(), std::this_thread::get_id()) << bytes;
  }
}

TEST_P(ShardLogConformance, AReaderGoesOnFromWhereItIsToldTo) {
  std::vector<LogOffset> offsets;
  for (int i = 0; i < 10; ++i) offsets.push_back(Put(absl::StrCat(i)));
  for (const size_t from : {size_t{9}, size_t{4}}) {
    const std::vector<LoggedBytes> records = Take(*Read(offsets[from]), 10 - from);
    EXPECT_EQ(records.front().bytes, absl::StrCat(from));
  }
  const std::unique_ptr<LogReader> reader = Read(End());
  std::vector<LoggedBytes> none;
  EXPECT_TRUE(reader->Next(std::chrono::milliseconds(10), kAnyBytes, none).ok());
  EXPECT_TRUE(none.empty());
  Put("after it");
  EXPECT_EQ(Take(*reader, 1).front().bytes, "after it");
}

TEST_P(ShardLogConformance, AReaderKnowsWhereItStandsAndWhereItsLogEnds) {
  for (int i = 0; i < 3; ++i) Put(absl::StrCat(i));
  const LogOffset end = End();
  const std::unique_ptr<LogReader> reader = Read(0);
  EXPECT_EQ(reader->next(), 0U);
  std::vector<LoggedBytes> records;
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while ((reader->next() != end || reader->seen_end() != end) && std::chrono::steady_clock::now() < until) {
    const absl::Status read = reader->Next(std::chrono::milliseconds(10), kAnyBytes, records);
    EXPECT_TRUE(read.ok() || absl::IsUnavailable(read)) << read;
  }
  EXPECT_EQ(reader->next(), end);
  EXPECT_EQ(reader->seen_end(), end);
  EXPECT_EQ(records.size(), 3U);
}

TEST_P(ShardLogConformance, NextTakesNoMoreThanItsBytesButOneRecordAtLeast) {
  for (int i = 0; i < 6; ++i) Put(std::string(1000, static_cast<char>('a' + i)));
  const std::unique_ptr<LogReader> reader = Read(0);
  std::vector<LoggedBytes> read = Take(*reader, 1, 1);
  for (const size_t most : {size_t{0}, size_t{2500}, size_t{2000}}) {
    size_t before = read.size();
    while (read.size() == before) ASSERT_TRUE(reader->Next(std::chrono::milliseconds(100), most, read).ok());
    EXPECT_LE(read.size() - before, std::max<size_t>(1, most / 1000)) << most;
  }
  while (read.size() < 6) ASSERT_TRUE(reader->Next(std::chrono::milliseconds(100), 1, read).ok());
  for (size_t i = 0; i < read.size(); ++i) EXPECT_EQ(read[i].bytes[0], static_cast<char>('a' + i));
}

TEST_P(ShardLogConformance, NextWaitsForARecordAndNoLongerThanItIsTold) {
  const std::unique_ptr<LogReader> reader = Read(0);
  std::vector<LoggedBytes> records;
  const auto start = std::chrono::steady_clock::now();
  const auto waited = NextOnceReached(*reader, std::chrono::milliseconds(50), records);
  EXPECT_TRUE(records.empty());
  EXPECT_GE(waited, std::chrono::milliseconds(45));
  EXPECT_LT(waited, kPatience / 2);
  std::thread later([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Put("came while one waited");
  });
  NextOnceReached(*reader, kPatience, records);
  EXPECT_LT(std::chrono::steady_clock::now() - start, kPatience / 2);
  later.join();
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records.front().bytes, "came while one waited");
}

TEST_P(ShardLogConformance, WhatTheLogNoLongerKeepsIsOutOfRange) {
  const LogOffset first = under_test().DropFront();
  ASSERT_GT(first, 0U);
  EXPECT_EQ(Begin(), first);
  EXPECT_EQ(ErrorFrom(0).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(ErrorFrom(first - 1).code(), absl::StatusCode::kOutOfRange);
  Put("after it");
  const std::vector<LoggedBytes> kept = Take(*Read(first), 1);
  EXPECT_EQ(kept.front().offset, first);
}

TEST_P(ShardLogConformance, WhatTheLogDoesNotReachToIsOutOfRangeAndStaysSo) {
  Put("one");
  const LogOffset beyond = End() + 1000;
  EXPECT_EQ(ErrorFrom(beyond).code(), absl::StatusCode::kOutOfRange);
  absl::StatusOr<std::unique_ptr<LogReader>> reader = log().Read(beyond);
  if (!reader.ok()) return;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(ErrorOf(**reader).code(), absl::StatusCode::kOutOfRange);
}

TEST_P(ShardLogConformance, ItsEndsAreAskedForWithinLimits) {
  CallLimits limits;
  limits.cancelled = std::make_shared<std::atomic<bool>>(true);
  EXPECT_EQ(log().End(limits).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(log().Begin(limits).status().code(), absl::StatusCode::kCancelled);
  limits = {};
  limits.deadline = std::chrono::steady_clock::now();
  EXPECT_EQ(log().End(limits).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(log().Begin(limits).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_P(ShardLogConformance, RecordsMayHaveNoBytesAndAnyByte) {
  std::string every;
  for (int i = 0; i < 256; ++i) every.push_back(static_cast<char>(i));
  const std::vector<std::string> put = {"", "x", every, std::string(3, '\0'), ""};
  for (const std::string& record : put) Put(record);
  std::vector<std::string> read;
  for (LoggedBytes& record : Take(*Read(0), put.size())) read.push_back(std::move(record.bytes));
  EXPECT_EQ(read, put);
}

TEST_P(ShardLogConformance, TheLongestRecordIsTakenAndALongerOneIsRefused) {
  const size_t most = log().most_record_bytes();
  std::string longest(most, ' ');
  for (size_t i = 0; i < most; i += 997) longest[i] = static_cast<char>(i % 251);
  const LogOffset offset = Put(longest);
  const absl::StatusOr<LogOffset> longer = AppendAndWait(log(), longest + "!");
  EXPECT_EQ(longer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(longer.status().message()), ::testing::HasSubstr(absl::StrCat(most + 1)));
  EXPECT_THAT(std::string(longer.status().message()), ::testing::HasSubstr(absl::StrCat(most)));
  EXPECT_EQ(End(), offset + 1) << "nothing was appended";
  const std::vector<LoggedBytes> records = Take(*Read(offset), 1);
  EXPECT_TRUE(records.front().bytes == longest);
}

TEST_P(ShardLogConformance, ReadersFollowManyAppenders) {
  constexpr size_t kThreads = 8, kEach = 100;
  const std::unique_ptr<LogReader> early = Read(0);
  std::future<std::vector<LoggedBytes>> seen =
      std::async(std::launch::async, [&] { return Take(*early, kThreads * kEach, 1000); });
  std::vector<std::vector<LogOffset>> offsets(kThreads);
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (size_t i = 0; i < kEach; ++i) offsets[thread].push_back(Put(absl::StrCat(thread, "/", i)));
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<LoggedBytes> records = seen.get();
  std::vector<size_t> next(kThreads, 0);
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_TRUE(i == 0 || records[i].offset > records[i - 1].offset) << i;
    const size_t thread = static_cast<size_t>(records[i].bytes.front() - '0');
    ASSERT_LT(thread, kThreads);
    ASSERT_LT(next[thread], kEach) << "each once";
    EXPECT_EQ(records[i].bytes, absl::StrCat(thread, "/", next[thread]));
    EXPECT_EQ(records[i].offset, offsets[thread][next[thread]]);
    ++next[thread];
  }
  const std::vector<LoggedBytes> again = Take(*Read(0), kThreads * kEach);
  ASSERT_EQ(again.size(), records.size());
  for (size_t i = 0; i < again.size(); ++i) {
    EXPECT_EQ(again[i].offset, records[i].offset);
    EXPECT_EQ(again[i].bytes, records[i].bytes);
  }
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_SHARD_LOG_CONFORMANCE_H_
