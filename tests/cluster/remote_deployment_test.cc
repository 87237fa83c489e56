// A front end over one shard that says what a test wants: what of its answers is passed on, and what is told of them.
#include "cluster/remote_deployment.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/error_reason.h"
#include "common/mutex.h"
#include "engine/flat_backups.h"
#include "engine/flat_catalogue.h"
#include "engine/flat_commands.h"
#include "mneme/internal/v1/shard.grpc.pb.h"

namespace mneme {
namespace {

using ::testing::ElementsAre;
using ::testing::StartsWith;
using Steady = std::chrono::steady_clock;

namespace wire = internal::v1;

constexpr uint64_t kDeployment = 7;

// Has no names to tell.
class NoNames final : public wire::CatalogueService::Service {
 public:
  grpc::Status Watch(grpc::ServerContext*, const wire::WatchRequest* request, wire::WatchAnswer* answer) override {
    if (request->leaving()) return grpc::Status::OK;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    CatalogueChanges changes;
    changes.whole = request->epoch() == 0;
    changes.next_number = 1;
    changes.revision = 1;
    answer->set_deployment(kDeployment);
    answer->set_epoch(kDeployment);
    answer->set_revision(1);
    answer->set_lease_ms(5'000);
    answer->set_now_ms(SystemClock().NowMs());
    answer->set_changes(Flat(changes));
    return grpc::Status::OK;
  }
};

// The one shard, which was given no directory for backups.
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

  grpc::Status DescribeBackups(grpc::ServerContext*, const wire::Call*, wire::Answer* answer) override {
    answer->set_body(Flat(ShardBackupState()));
    return grpc::Status::OK;
  }

 private:
  int port_ = 0;
  NoNames names_;
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
  }

  static CallLimits Patient() {
    CallLimits limits;
    limits.deadline = Steady::now() + std::chrono::seconds(30);
    return limits;
  }
  absl::Status BackUp(const CallLimits& limits) const {
    return deployment_->CreateBackup(0, limits, [](const BackupProgress&) { return true; }).status();
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
};

TEST_F(RemoteDeploymentTest, ABackupThatFailsIsTold) {
  const absl::Status failed = BackUp(Patient());
  EXPECT_EQ(failed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(failed), reason::kNoBackupDirectory);
  EXPECT_THAT(events(), ElementsAre(absl::StrCat("backup_failed ", failed.message())));
}

TEST_F(RemoteDeploymentTest, ABackupThatNobodyWaitsForAnyMoreIsCancelledAndHasNotFailed) {
  CallLimits gone = Patient();
  gone.cancelled = std::make_shared<const std::atomic<bool>>(true);
  EXPECT_FALSE(BackUp(gone).ok());
  EXPECT_THAT(events(), ElementsAre(StartsWith("backup_cancelled ")));
  CallLimits late;
  late.deadline = Steady::now();
  EXPECT_FALSE(BackUp(late).ok());
  EXPECT_THAT(events(), ElementsAre(StartsWith("backup_cancelled ")));
}

}  // namespace
}  // namespace mneme
