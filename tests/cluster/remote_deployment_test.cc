// A front end over one shard that says what a test wants: what of its answers is passed on, and what is told of them.
#include "cluster/remote_deployment.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/columns.h"
#include "common/error_reason.h"
#include "common/mutex.h"
#include "engine/flat_backups.h"
#include "engine/flat_commands.h"
#include "mneme/internal/v1/shard.grpc.pb.h"
#include "tests/cluster/told_names.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using Steady = std::chrono::steady_clock;

namespace wire = internal::v1;

constexpr uint64_t kDeployment = 7;

constexpr uint32_t kDimension = 2;
constexpr size_t kKeyBytes = kDimension * sizeof(float);

// What the shard tells of its two entries.
struct Told {
  std::vector<uint8_t> found = {1, 1};
  EntryColumns entries;
};

Told TwoEntries(bool with_keys) {
  Told told;
  told.entries.values.width = sizeof(Token);
  const std::string key(with_keys ? kKeyBytes : 0, 'k');
  for (const EntryId id : {4, 9}) {
    EntryView entry;
    entry.id = id;
    entry.key = key;
    const auto token = static_cast<Token>(id);
    entry.value = {reinterpret_cast<const char*>(&token), sizeof(token)};
    told.entries.Append(entry);
  }
  return told;
}

// The one shard, which has two entries, and was given no directory for backups, until it is said that it was.
class ToldShard final : public wire::ShardService::Service {
 public:
  ToldShard() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    builder.RegisterService(&names_);
    server_ = builder.BuildAndStart();
  }
  ~ToldShard() override { server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100)); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // What is wrong with what it tells of its entries from now on.
  void Spoil(std::function<void(Told&)> spoil) {
    MutexLock lock(&mutex_);
    spoil_ = std::move(spoil);
  }

  grpc::Status Get(grpc::ServerContext*, const wire::Call* call, wire::Answer* answer) override {
    MemoryNumber memory = 0;
    PartitionId partition = 0;
    std::vector<EntryId> ids;
    bool with_keys = false;
    Version at_least;
    int64_t stamp_ms = 0;
    if (!Unflat(call->body(), memory, partition, ids, with_keys, at_least, stamp_ms).ok()) return Damaged();
    const Told told = Tell(with_keys);
    answer->set_body(Flat(told.found, told.entries));
    return grpc::Status::OK;
  }
  grpc::Status Visit(grpc::ServerContext*, const wire::Call* call, grpc::ServerWriter<wire::Answer>* answers) override {
    MemoryNumber memory = 0;
    std::string lease;
    VisitCommand command;
    if (!Unflat(call->body(), memory, lease, command).ok()) return Damaged();
    const Told told = Tell(command.with_keys);
    wire::Answer answer;
    answer.set_body(Flat(std::vector<PartitionId>(told.entries.count), told.entries, std::optional<Version>()));
    answers->Write(answer);
    EntryColumns none;
    none.values.width = sizeof(Token);
    answer.set_body(Flat(std::vector<PartitionId>(), none, std::optional<Version>(Version{memory, {{0, 3}}})));
    answers->Write(answer);
    return grpc::Status::OK;
  }
  grpc::Status Scan(grpc::ServerContext*, const wire::Call* call, wire::Answer* answer) override {
    MemoryNumber memory = 0;
    ScanCommand command;
    if (!Unflat(call->body(), memory, command).ok()) return Damaged();
    ScanPage page;
    page.entries = Tell(command.with_keys).entries;
    page.partitions.resize(page.entries.count);
    answer->set_body(Flat(page));
    return grpc::Status::OK;
  }

  // From now on it can be asked for a backup, which fails.
  void HaveBackupDirectory() { has_backup_directory_ = true; }
  // It removes nothing of a backup before that.
  void RemoveBackupsAfter(Steady::time_point time) {
    MutexLock lock(&mutex_);
    removes_after_ = time;
  }

  grpc::Status DescribeBackups(grpc::ServerContext*, const wire::Call*, wire::Answer* answer) override {
    ShardBackupState state;
    state.has_directory = has_backup_directory_;
    state.names = NamesMark{1, 1};
    answer->set_body(Flat(state));
    return grpc::Status::OK;
  }
  grpc::Status TakeBackup(grpc::ServerContext*, const wire::Call*, grpc::ServerWriter<wire::Answer>*) override {
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the disk is full"};
  }
  grpc::Status RemoveBackup(grpc::ServerContext*, const wire::Call*, wire::Answer*) override {
    Steady::time_point after;
    {
      MutexLock lock(&mutex_);
      after = removes_after_;
    }
    std::this_thread::sleep_until(after);
    return grpc::Status::OK;
  }

 private:
  static grpc::Status Damaged() { return {grpc::StatusCode::INVALID_ARGUMENT, "damaged"}; }
  Told Tell(bool with_keys) {
    Told told = TwoEntries(with_keys);
    MutexLock lock(&mutex_);
    if (spoil_ != nullptr) spoil_(told);
    return told;
  }

  int port_ = 0;
  testing::ToldNames names_{kDeployment, testing::NoNames()};
  std::atomic<bool> has_backup_directory_{false};
  Mutex mutex_;
  std::function<void(Told&)> spoil_ ABSL_GUARDED_BY(mutex_);
  Steady::time_point removes_after_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

class RemoteDeploymentTest : public ::testing::Test {
 protected:
  RemoteDeploymentTest() {
    RemoteDeploymentOptions options;
    options.shards = {{shard_.address()}};
    options.search_threads = 1;
    options.events = [this](std::string_view event, std::string_view detail) {
      if (event.substr(0, 6) != "backup") return;
      MutexLock lock(&mutex_);
      events_.push_back(absl::StrCat(std::string(event), " ", std::string(detail)));
    };
    deployment_ = RemoteDeployment::Open(std::move(options)).value();
    MemoryRecord record;
    record.number = 1;
    record.spec.name = "wiki";
    record.spec.dimension = kDimension;
    record.spec.key_dtype = Dtype::kF32;
    record.spec.vocabulary_size = 1'000;
    memory_ = std::make_shared<const MemoryRecord>(record);
  }

  static CallLimits Patient() {
    CallLimits limits;
    limits.deadline = Steady::now() + std::chrono::seconds(30);
    return limits;
  }
  absl::Status BackUp(const CallLimits& limits) const {
    return deployment_->CreateBackup(0, limits, [](const BackupProgress&) { return true; }).status();
  }
  // How each read of entries ends; what it has read is in `ids_`.
  absl::Status Get(bool with_keys) {
    std::vector<bool> found;
    const auto got = deployment_->Get(memory_, 0, {4, 9}, with_keys, {}, Patient(), found);
    if (got.ok()) ids_ = got->ids;
    return got.status();
  }
  absl::Status Visit(bool with_keys) {
    VisitCommand command;
    command.with_keys = with_keys;
    command.limits = Patient();
    ids_.clear();
    return deployment_
        ->Visit(memory_, command,
                [&](PartitionId, const EntryView& entry) {
                  EXPECT_EQ(entry.value.size(), sizeof(Token));
                  EXPECT_EQ(entry.key.size(), with_keys ? kKeyBytes : 0);
                  ids_.push_back(entry.id);
                  return absl::OkStatus();
                })
        .status();
  }
  absl::Status Scan(bool with_keys) {
    ScanCommand command;
    command.with_keys = with_keys;
    command.page_size = 10;
    command.limits = Patient();
    const auto page = deployment_->Scan(memory_, command);
    if (page.ok()) ids_ = page->entries.ids;
    return page.status();
  }
  // Of backups.
  std::vector<std::string> events() {
    MutexLock lock(&mutex_);
    return std::exchange(events_, {});
  }

  ToldShard shard_;
  Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<RemoteDeployment> deployment_;
  MemoryHandle memory_;
  std::vector<EntryId> ids_;
};

TEST_F(RemoteDeploymentTest, ABackupThatFailsIsTold) {
  shard_.HaveBackupDirectory();
  const absl::Status failed = BackUp(Patient());
  EXPECT_EQ(failed.code(), absl::StatusCode::kResourceExhausted) << failed;
  EXPECT_THAT(events(), ElementsAre(absl::StrCat("backup_failed ", failed.message())));
}

TEST_F(RemoteDeploymentTest, ABackupThatFailsHasFailedThoughTheTimeForItIsOverOnceItIsClearedAway) {
  shard_.HaveBackupDirectory();
  CallLimits limits;
  limits.deadline = Steady::now() + std::chrono::seconds(3);
  shard_.RemoveBackupsAfter(limits.deadline + std::chrono::milliseconds(100));
  EXPECT_FALSE(BackUp(limits).ok());
  EXPECT_FALSE(limits.Check().ok());
  EXPECT_THAT(events(), ElementsAre(StartsWith("backup_failed ")));
}

TEST_F(RemoteDeploymentTest, WithoutADirectoryForBackupsNoneIsBegunAndNoneFails) {
  const absl::Status refused = BackUp(Patient());
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(refused), reason::kNoBackupDirectory);
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(RemoteDeploymentTest, ABackupThatNobodyWaitsForAnyMoreIsCancelledAndHasNotFailed) {
  shard_.HaveBackupDirectory();
  CallLimits gone = Patient();
  gone.cancelled = std::make_shared<const std::atomic<bool>>(true);
  EXPECT_FALSE(BackUp(gone).ok());
  EXPECT_THAT(events(), ElementsAre(StartsWith("backup_cancelled ")));
  CallLimits late;
  late.deadline = Steady::now();
  EXPECT_FALSE(BackUp(late).ok());
  EXPECT_THAT(events(), ElementsAre(StartsWith("backup_cancelled ")));
}

TEST_F(RemoteDeploymentTest, EntriesThatAreNotAsWideAsTheMemorySaysAreDamage) {
  const std::vector<std::function<void(Told&)>> spoils = {
      [](Told& told) {
        told.entries.values.width = 1;
        told.entries.values.bytes.resize(told.entries.count);
      },
      [](Told& told) {
        told.entries.values = ValueColumn();
        for (size_t i = 0; i < told.entries.count; ++i) told.entries.values.Append("of any length");
      },
      [](Told& told) {
        told.entries.key_bytes = 1;
        told.entries.keys.Resize(told.entries.count);
      },
      [](Told& told) { told.entries.keys.Resize(0); },
      [](Told& told) { told.entries.ids.clear(); },
      [](Told& told) {  // of no entry, with widths that no memory has
        told = Told();
        told.found = {0, 0};
        told.entries.values.width = size_t{1} << 60;
        told.entries.key_bytes = size_t{1} << 60;
      },
  };
  const std::vector<std::function<absl::Status(bool)>> reads = {
      [this](bool with_keys) { return Get(with_keys); },
      [this](bool with_keys) { return Visit(with_keys); },
      [this](bool with_keys) { return Scan(with_keys); },
  };
  for (const auto& read : reads) {
    for (size_t i = 0; i < spoils.size(); ++i) {
      shard_.Spoil(spoils[i]);
      EXPECT_EQ(read(/*with_keys=*/true).code(), absl::StatusCode::kDataLoss) << i;
    }
    shard_.Spoil([](Told& told) { told = TwoEntries(/*with_keys=*/true); });
    EXPECT_EQ(read(/*with_keys=*/false).code(), absl::StatusCode::kDataLoss) << "nobody asked for keys";
    shard_.Spoil(nullptr);
    for (const bool with_keys : {false, true}) {
      const absl::Status whole = read(with_keys);
      EXPECT_TRUE(whole.ok()) << whole;
      EXPECT_THAT(ids_, ElementsAre(4, 9));
    }
  }
}

TEST_F(RemoteDeploymentTest, EachIdThatIsFoundHasItsEntry) {
  const auto tell_one = [](std::vector<uint8_t> found) {
    return [found](Told& told) {
      EntryColumns one;
      one.values.width = sizeof(Token);
      one.Append(told.entries.At(0));
      told.entries = std::move(one);
      told.found = found;
    };
  };
  shard_.Spoil(tell_one({1, 0}));
  EXPECT_TRUE(Get(/*with_keys=*/true).ok());
  EXPECT_THAT(ids_, ElementsAre(4));
  const std::vector<std::vector<uint8_t>> wrong = {{1, 1}, {1, 2}, {0, 0}, {1}, {1, 0, 0}};
  for (const std::vector<uint8_t>& found : wrong) {
    shard_.Spoil(tell_one(found));
    EXPECT_EQ(Get(/*with_keys=*/true).code(), absl::StatusCode::kDataLoss);
  }
}

}  // namespace
}  // namespace mneme
