// Tellers of names in one process: each has a catalogue and a line of its own to one log, and calls the others. A test
// cuts them off from the log, or from each other, and kills them.
#ifndef MNEME_TESTS_ENGINE_CATALOGUE_TELLERS_H_
#define MNEME_TESTS_ENGINE_CATALOGUE_TELLERS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <set>
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

// Who reaches whom, by their addresses. A teller that is gone may be held a moment longer by who has just reached it.
class TellerNetwork {
 public:
  void Put(const std::string& address, std::shared_ptr<CatalogueTeller> teller) {
    MutexLock lock(&mutex_);
    tellers_[address] = std::move(teller);
  }
  // Null when it is not reached.
  std::shared_ptr<CatalogueTeller> Reach(const std::string& from, const std::string& to) const {
    MutexLock lock(&mutex_);
    const auto at = tellers_.find(to);
    return at == tellers_.end() || cut_.contains(from) || cut_.contains(to) ? nullptr : at->second;
  }
  // From all others.
  void Cut(const std::string& address, bool cut) {
    MutexLock lock(&mutex_);
    cut_.erase(address);
    if (cut) cut_.insert(address);
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, std::shared_ptr<CatalogueTeller>> tellers_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> cut_ ABSL_GUARDED_BY(mutex_);
};

class TestTellers final : public OtherTellers {
 public:
  TestTellers(std::shared_ptr<TellerNetwork> network, std::string address, std::chrono::milliseconds promise)
      : network_(std::move(network)), address_(std::move(address)), promise_(promise) {}

  void SetReplicas(const std::vector<std::string>& replicas) override {
    MutexLock lock(&mutex_);
    for (const std::string& address : others_) gone_[address] = Steady::now() + promise_;
    others_.clear();
    for (const std::string& address : replicas) {
      if (address.empty() || address == address_) continue;
      others_.push_back(address);
      gone_.erase(address);
    }
  }
  Steady::time_point Confirm(LogOffset offset, const Until& until, const CallLimits& given) override {
    std::map<std::string, std::future<bool>> asked;
    std::map<std::string, Steady::time_point> untils;
    for (const std::string& other : Others(/*gone=*/true)) {
      untils[other] = until(other);
      CallLimits limits = given;
      limits.deadline = std::min(given.deadline, untils[other]);
      asked[other] = std::async(std::launch::async, [this, other, offset, limits] {
        const auto teller = network_->Reach(address_, other);
        return teller != nullptr && teller->Confirm(offset, limits).ok();
      });
    }
    Steady::time_point latest = Steady::time_point::min();
    for (auto& [other, confirms] : asked) {
      if (!confirms.get()) latest = std::max(latest, untils[other]);
    }
    return latest;
  }
  void SetHandled(Sequence) override {}  // as PromisedAt() is told
  Steady::time_point PromisedAt(Sequence handled) const override {
    Steady::time_point earliest = Steady::now();
    for (const std::string& other : Others(/*gone=*/false)) {
      const Steady::time_point asked = Steady::now();
      const auto teller = network_->Reach(address_, other);
      const absl::StatusOr<Sequence> answer =
          teller != nullptr ? teller->Promise(address_, handled) : absl::UnavailableError("it is cut off");
      MutexLock lock(&mutex_);
      Promised& promised = promised_[other];
      if (answer.ok()) promised = {asked, *answer};
      if (promised.handled > handled) return Steady::time_point::min();
      earliest = std::min(earliest, promised.asked);
    }
    return earliest;
  }

 private:
  struct Promised {
    Steady::time_point asked = Steady::time_point::min();
    Sequence handled = 0;
  };

  std::vector<std::string> Others(bool gone) const {
    MutexLock lock(&mutex_);
    std::vector<std::string> others = others_;
    for (const auto& [address, until] : gone_) {
      if (gone && until > Steady::now()) others.push_back(address);
    }
    return others;
  }

  const std::shared_ptr<TellerNetwork> network_;
  const std::string address_;
  const std::chrono::milliseconds promise_;
  mutable Mutex mutex_;
  std::vector<std::string> others_ ABSL_GUARDED_BY(mutex_);
  mutable std::map<std::string, Promised> promised_ ABSL_GUARDED_BY(mutex_);  // the last that each gave
  std::map<std::string, Steady::time_point> gone_ ABSL_GUARDED_BY(mutex_);
};

// `count` tellers over one log, whose first two records are theirs: which deployment, and that these are listed.
class CatalogueTellers {
 public:
  static constexpr uint64_t kDeployment = 0x0123456789abcdef;
  static constexpr std::chrono::milliseconds kLease{1'000};
  static constexpr std::chrono::milliseconds kPromise{3'000};
  static constexpr std::chrono::milliseconds kPoll{50};

  explicit CatalogueTellers(uint32_t count) {
    AppendRecord(FoundCommand{1});
    AppendRecord(SetReplicasCommand{0, {}, Addresses(count), NewChangeRequest()});
    for (uint32_t number = 0; number < count; ++number) Open(number);
  }
  ~CatalogueTellers() {
    while (!tellers_.empty()) Kill(tellers_.begin()->first);
  }

  static std::string AddressOf(uint32_t number) { return absl::StrCat("teller-", number); }
  // Of the first so many.
  static std::vector<std::string> Addresses(uint32_t count) {
    std::vector<std::string> addresses;
    for (uint32_t number = 0; number < count; ++number) addresses.push_back(AddressOf(number));
    return addresses;
  }

  void Open(uint32_t number) {
    lines_[number] = std::make_shared<CutLog>(log_);
    CatalogueTellerOptions options;
    options.catalogue = OpenCatalogue(number);
    options.log = lines_[number];
    options.others = std::make_unique<TestTellers>(network_, AddressOf(number), kPromise);
    options.deployment = kDeployment;
    options.address = AddressOf(number);
    options.lease = kLease;
    options.promise = kPromise;
    options.poll = kPoll;
    const auto closed = std::make_shared<std::promise<void>>();
    closed_[number] = closed->get_future();
    tellers_[number] = std::shared_ptr<CatalogueTeller>(new CatalogueTeller(std::move(options)),
                                                        [closed](CatalogueTeller* teller) {
                                                          delete teller;
                                                          closed->set_value();
                                                        });
    network_->Put(AddressOf(number), tellers_[number]);
  }
  // Its directory stays, and may be opened again.
  void Kill(uint32_t number) {
    if (!tellers_.contains(number)) return;
    network_->Put(AddressOf(number), nullptr);
    tellers_.erase(number);
    closed_.at(number).wait();
  }
  // Its disk is lost.
  void Lose(uint32_t number) { std::filesystem::remove_all(directory_ / absl::StrCat("catalogue-", number)); }
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
  // From all others.
  void CutOff(uint32_t number, bool cut) { network_->Cut(AddressOf(number), cut); }

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
  // As somebody else.
  void AppendRecord(LoggedOperation operation, uint64_t deployment = kDeployment) {
    LogRecord record = RecordOf(std::move(operation));
    record.deployment = deployment;
    log_->Append(EncodeLogRecord(record), [](const absl::StatusOr<LogOffset>&) {});
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
