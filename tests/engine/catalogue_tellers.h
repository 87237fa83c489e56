// Tellers of names in one process: each has a catalogue and a line of its own to one log, and calls the others. A test
// cuts them off from the log, or from each other, and kills them.
#ifndef MNEME_TESTS_ENGINE_CATALOGUE_TELLERS_H_
#define MNEME_TESTS_ENGINE_CATALOGUE_TELLERS_H_

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "engine/catalogue_teller.h"
#include "engine/log_record.h"
#include "storage/catalogue_store.h"
#include "tests/engine/memory_log.h"
#include "tests/storage/temporary_directory.h"

namespace mneme::testing {

// A line to a log that may be cut. Readers may outlive it.
class CutLog final : public ShardLog {
 public:
  explicit CutLog(std::shared_ptr<MemoryLog> log) : log_(std::move(log)) {}

  void Cut(bool cut) { *cut_ = cut; }

  size_t most_record_bytes() const override { return log_->most_record_bytes(); }
  void Append(std::string record, Appended appended) override {
    if (*cut_) return appended(Away());
    log_->Append(std::move(record), std::move(appended));
  }
  absl::StatusOr<LogOffset> End(const CallLimits& limits) const override {
    if (*cut_) return Away();
    return log_->End(limits);
  }
  absl::StatusOr<LogOffset> Begin(const CallLimits& limits) const override {
    if (*cut_) return Away();
    return log_->Begin(limits);
  }
  absl::StatusOr<std::unique_ptr<LogReader>> Read(LogOffset from) override {
    auto reader = log_->Read(from);
    if (!reader.ok()) return reader.status();
    return std::unique_ptr<LogReader>(std::make_unique<Reader>(*std::move(reader), cut_));
  }

 private:
  class Reader final : public LogReader {
   public:
    Reader(std::unique_ptr<LogReader> reader, std::shared_ptr<const std::atomic<bool>> cut)
        : reader_(std::move(reader)), cut_(std::move(cut)) {}
    absl::Status Next(std::chrono::milliseconds wait, size_t most_bytes, std::vector<LoggedBytes>& records) override {
      if (!*cut_) return reader_->Next(wait, most_bytes, records);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      return Away();
    }
    LogOffset next() const override { return reader_->next(); }
    LogOffset seen_end() const override { return *cut_ ? 0 : reader_->seen_end(); }

   private:
    const std::unique_ptr<LogReader> reader_;
    const std::shared_ptr<const std::atomic<bool>> cut_;
  };

  static absl::Status Away() { return absl::UnavailableError("the log is cut off"); }

  const std::shared_ptr<MemoryLog> log_;
  const std::shared_ptr<std::atomic<bool>> cut_ = std::make_shared<std::atomic<bool>>(false);
};

// Who reaches whom. A teller that is gone may be held a moment longer by who has just reached it.
class TellerNetwork {
 public:
  void Put(uint32_t number, std::shared_ptr<CatalogueTeller> teller) {
    MutexLock lock(&mutex_);
    tellers_[number] = std::move(teller);
  }
  // Null when it is not reached. `number` is cut off from all when `cut`.
  std::shared_ptr<CatalogueTeller> Reach(uint32_t from, uint32_t number) const {
    MutexLock lock(&mutex_);
    const auto at = tellers_.find(number);
    return at == tellers_.end() || cut_.contains(from) || cut_.contains(number) ? nullptr : at->second;
  }
  void Cut(uint32_t number, bool cut) {
    MutexLock lock(&mutex_);
    cut_.erase(number);
    if (cut) cut_[number] = true;
  }

 private:
  mutable Mutex mutex_;
  std::map<uint32_t, std::shared_ptr<CatalogueTeller>> tellers_ ABSL_GUARDED_BY(mutex_);
  std::map<uint32_t, bool> cut_ ABSL_GUARDED_BY(mutex_);
};

class TestTellers final : public OtherTellers {
 public:
  TestTellers(std::shared_ptr<TellerNetwork> network, uint32_t number, uint32_t count)
      : network_(std::move(network)), number_(number), count_(count) {}

  std::vector<uint32_t> Confirm(LogOffset offset, Steady::time_point until) override {
    std::map<uint32_t, std::future<bool>> asked;
    for (uint32_t other = 0; other < count_; ++other) {
      if (other == number_) continue;
      asked[other] = std::async(std::launch::async, [this, other, offset, until] {
        const auto teller = network_->Reach(number_, other);
        CallLimits limits;
        limits.deadline = until;
        return teller != nullptr && teller->Confirm(offset, limits).ok();
      });
    }
    std::vector<uint32_t> confirmed;
    for (auto& [other, confirms] : asked) {
      if (confirms.get()) confirmed.push_back(other);
    }
    if (confirmed.size() != asked.size()) std::this_thread::sleep_until(until);
    return confirmed;
  }
  Steady::time_point PromisedAt(Sequence handled) const override {
    const Steady::time_point asked = Steady::now();
    for (uint32_t other = 0; other < count_; ++other) {
      if (other == number_) continue;
      const auto teller = network_->Reach(number_, other);
      if (teller == nullptr) return Steady::time_point::min();
      const auto promised = teller->Promise(number_);
      if (!promised.ok() || *promised > handled) return Steady::time_point::min();
    }
    return asked;
  }

 private:
  const std::shared_ptr<TellerNetwork> network_;
  const uint32_t number_;
  const uint32_t count_;
};

// `count` tellers over one log, whose first record is theirs.
class CatalogueTellers {
 public:
  static constexpr uint64_t kDeployment = 0x0123456789abcdef;
  static constexpr std::chrono::milliseconds kLease{1'000};
  static constexpr std::chrono::milliseconds kPoll{50};

  explicit CatalogueTellers(uint32_t count) : count_(count) {
    LogRecord found;
    found.deployment = kDeployment;
    found.operation = FoundCommand{1};
    log_->Append(EncodeLogRecord(found), [](const absl::StatusOr<LogOffset>&) {});
    for (uint32_t number = 0; number < count; ++number) Open(number);
  }
  ~CatalogueTellers() {
    for (uint32_t number = 0; number < count_; ++number) Kill(number);
  }

  void Open(uint32_t number) {
    lines_[number] = std::make_shared<CutLog>(log_);
    CatalogueTellerOptions options;
    options.catalogue = OpenCatalogue(number);
    options.log = lines_[number];
    if (count_ > 1) options.others = std::make_unique<TestTellers>(network_, number, count_);
    options.deployment = kDeployment;
    options.lease = kLease;
    options.poll = kPoll;
    const auto closed = std::make_shared<std::promise<void>>();
    closed_[number] = closed->get_future();
    tellers_[number] = std::shared_ptr<CatalogueTeller>(new CatalogueTeller(std::move(options)),
                                                        [closed](CatalogueTeller* teller) {
                                                          delete teller;
                                                          closed->set_value();
                                                        });
    network_->Put(number, tellers_[number]);
  }
  // Its directory stays, and may be opened again.
  void Kill(uint32_t number) {
    if (!tellers_.contains(number)) return;
    network_->Put(number, nullptr);
    tellers_.erase(number);
    closed_.at(number).wait();
  }
  std::unique_ptr<Catalogue> OpenCatalogue(uint32_t number) {
    auto store = OpenLoggedCatalogueStore(directory_ / absl::StrCat("catalogue-", number), &resources_);
    EXPECT_TRUE(store.ok()) << store.status();
    auto catalogue = Catalogue::OpenLogged(*std::move(store));
    EXPECT_TRUE(catalogue.ok()) << catalogue.status();
    return *std::move(catalogue);
  }

  CatalogueTeller& operator[](uint32_t number) { return *tellers_.at(number); }
  MemoryLog& log() { return *log_; }
  CutLog& line(uint32_t number) { return *lines_.at(number); }
  TellerNetwork& network() { return *network_; }

  static CallLimits Within(std::chrono::milliseconds time) {
    CallLimits limits;
    limits.deadline = std::chrono::steady_clock::now() + time;
    return limits;
  }
  static LogRecord RecordOf(LoggedOperation change) {
    LogRecord record;
    record.operation = std::move(change);
    return record;
  }
  absl::StatusOr<MemoryHandle> Change(uint32_t number, LoggedOperation change) {
    return (*this)[number].Change(RecordOf(std::move(change)), Within(std::chrono::seconds(30)));
  }
  // All of them have applied what the log has.
  void AwaitEven() {
    for (const auto& [number, teller] : tellers_) {
      const absl::Status even = teller->applier().AwaitEnd(Within(std::chrono::seconds(30)));
      ASSERT_TRUE(even.ok()) << number << ": " << even;
    }
  }

 private:
  const uint32_t count_;
  TemporaryDirectory directory_;
  StoreResources resources_{4 << 20, 64 << 20};
  const std::shared_ptr<MemoryLog> log_ = std::make_shared<MemoryLog>();
  const std::shared_ptr<TellerNetwork> network_ = std::make_shared<TellerNetwork>();
  std::map<uint32_t, std::shared_ptr<CutLog>> lines_;
  std::map<uint32_t, std::shared_ptr<CatalogueTeller>> tellers_;
  std::map<uint32_t, std::future<void>> closed_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_CATALOGUE_TELLERS_H_
