// Connections between processes, and what a watcher of the catalogue tells when it has lost it.
#include "cluster/shard_channel.h"

#include <gmock/gmock.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cluster/catalogue_watch.h"
#include "common/error_reason.h"
#include "engine/flat_catalogue.h"

namespace mneme {
namespace {

using ::testing::HasSubstr;

// Shard 0 with an empty catalogue, whose leases are short.
class Owner final : public internal_wire::CatalogueService::Service {
 public:
  Owner() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~Owner() override { server_->Shutdown(); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // Refuses from now on, or no more.
  void Refuse(bool refuses) { refuses_ = refuses; }
  std::set<std::string> peers() const {
    MutexLock lock(&mutex_);
    return peers_;
  }

  grpc::Status Watch(grpc::ServerContext* context, const internal_wire::WatchRequest*,
                     internal_wire::WatchAnswer* answer) override {
    {
      MutexLock lock(&mutex_);
      peers_.insert(context->peer());
    }
    if (refuses_) return {grpc::StatusCode::INTERNAL, "the disk is gone"};
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CatalogueChanges changes;
    changes.whole = true;
    changes.next_number = 1;
    answer->set_deployment(7);
    answer->set_epoch(1);
    answer->set_lease_ms(200);
    answer->set_changes(Flat(changes));
    return grpc::Status::OK;
  }

 private:
  int port_ = 0;
  std::atomic<bool> refuses_{false};
  mutable Mutex mutex_;
  std::set<std::string> peers_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Server> server_;
};

bool Becomes(const std::function<bool()>& holds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

TEST(ShardChannelTest, EachChannelHasAConnectionOfItsOwn) {
  Owner owner;
  for (size_t i = 1; i <= 3; ++i) {
    const auto stub = internal_wire::CatalogueService::NewStub(MakeInternalChannel(owner.address(), nullptr));
    grpc::ClientContext context;
    internal_wire::WatchAnswer answer;
    ASSERT_TRUE(stub->Watch(&context, {}, &answer).ok());
  }
  EXPECT_EQ(owner.peers().size(), 3U);
}

TEST(CatalogueWatchTest, SaysWhenNamesCannotBeToldAndWhy) {
  Owner owner;
  Mutex mutex;
  std::vector<std::string> events;
  const auto said = [&](const std::string& event) {
    MutexLock lock(&mutex);
    return std::count(events.begin(), events.end(), event) != 0;
  };
  const auto hear = [&](std::string_view event, std::string_view) {
    MutexLock lock(&mutex);
    events.emplace_back(event);
  };
  const auto watch = CatalogueWatch::Start({owner.address(), 2, hear}, [] { return false; }).value();
  EXPECT_TRUE(Becomes([&] { return watch->Check().ok(); }));
  owner.Refuse(true);
  ASSERT_TRUE(Becomes([&] { return said("names_lost"); }));
  const absl::Status lost = watch->Check();
  EXPECT_EQ(lost.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(lost), reason::kShardUnavailable);
  EXPECT_THAT(std::string(lost.message()), HasSubstr("the disk is gone"));
  EXPECT_FALSE(said("catalogue_found"));
  owner.Refuse(false);
  ASSERT_TRUE(Becomes([&] { return said("catalogue_found"); }));
  EXPECT_TRUE(Becomes([&] { return watch->Check().ok(); }));
}

}  // namespace
}  // namespace mneme
