// A real deployment in a temporary directory, with verbs: what a test does reads as a story.
#ifndef MNEME_TESTS_ENGINE_DEPLOYMENT_FIXTURE_H_
#define MNEME_TESTS_ENGINE_DEPLOYMENT_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstring>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/vector_codec.h"
#include "engine/local_deployment.h"
#include "tests/storage/temporary_directory.h"

namespace mneme::testing {

// One entry as a test writes it down.
struct PlainEntry {
  EntryId id = 0;
  std::vector<float> key;
  Token token = 0;
  Attributes attributes = {};
};

inline EntryColumns ColumnsOf(const MemorySpec& spec, const std::vector<PlainEntry>& plain, bool with_ids = true) {
  EntryColumns columns;
  columns.values.width = spec.ValueBytes();
  std::string key(spec.KeyBytes(), '\0');
  for (const PlainEntry& one : plain) {
    EncodeVector(spec.key_dtype, one.key.data(), spec.dimension, key.data());
    EntryView view;
    view.id = one.id;
    view.key = key;
    view.value = {reinterpret_cast<const char*>(&one.token), sizeof(Token)};
    view.attributes = one.attributes;
    columns.Append(view);
  }
  if (!with_ids) columns.ids.clear();
  return columns;
}

class TestDeployment {
 public:
  // Where, how many shards and the clock are the fixture's own; the rest is as `options` say.
  explicit TestDeployment(uint32_t shards = 1, DeploymentOptions options = {.search_threads = 2})
      : shards_(shards), options_(std::move(options)) {
    Open();
  }

  absl::Status TryOpen() {
    DeploymentOptions options = options_;
    options.data_dir = directory_ / "data";
    options.shards = shards_;
    options.clock = &clock_;
    auto opened = LocalDeployment::Open(std::move(options));
    if (!opened.ok()) return opened.status();
    deployment_ = *std::move(opened);
    return absl::OkStatus();
  }
  void Open() {
    const absl::Status opened = TryOpen();
    ASSERT_TRUE(opened.ok()) << opened;
  }
  void Restart() {
    deployment_.reset();
    Open();
  }
  void Close() { deployment_.reset(); }

  Deployment& operator*() { return *deployment_; }
  Deployment* operator->() { return deployment_.get(); }
  ManualClock& clock() { return clock_; }
  std::string path(const std::string& name) const { return directory_ / ("data/" + name); }

  MemoryHandle Create(const MemorySpec& spec) {
    auto memory = deployment_->CreateMemory(spec);
    EXPECT_TRUE(memory.ok()) << memory.status();
    return memory.ok() ? *memory : nullptr;
  }
  MemoryHandle Find(const std::string& name) {
    auto memory = deployment_->FindMemory(name);
    EXPECT_TRUE(memory.ok()) << memory.status();
    return memory.ok() ? *memory : nullptr;
  }

  absl::StatusOr<InsertOutcome> Insert(const MemoryHandle& memory, EntryColumns entries, PartitionId partition = 0,
                                       std::string request_id = "") {
    std::promise<absl::StatusOr<InsertOutcome>> promise;
    deployment_->Insert(memory,
                        {.partition = partition, .entries = std::move(entries), .request_id = std::move(request_id)},
                        nullptr, [&](absl::StatusOr<InsertOutcome> outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  }
  // One message of a load.
  absl::StatusOr<InsertOutcome> Load(const MemoryHandle& memory, EntryColumns entries, std::string request_id = "") {
    std::promise<absl::StatusOr<InsertOutcome>> promise;
    deployment_->Insert(memory, {.entries = std::move(entries), .request_id = std::move(request_id), .bulk = true},
                        nullptr, [&](absl::StatusOr<InsertOutcome> outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  }
  absl::StatusOr<DeleteOutcome> Delete(const MemoryHandle& memory, DeleteCommand command) {
    std::promise<absl::StatusOr<DeleteOutcome>> promise;
    deployment_->Delete(memory, std::move(command),
                        [&](absl::StatusOr<DeleteOutcome> outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  }
  absl::StatusOr<DeleteOutcome> DeleteIds(const MemoryHandle& memory, std::vector<EntryId> ids,
                                          PartitionId partition = 0) {
    DeleteCommand command;
    command.partitions.partitions = {partition};
    command.ids = std::move(ids);
    return Delete(memory, std::move(command));
  }
  absl::StatusOr<QueryOutcome> Query(const MemoryHandle& memory, QueryCommand command) {
    std::promise<absl::StatusOr<QueryOutcome>> promise;
    deployment_->Query(memory, std::move(command),
                       [&](absl::StatusOr<QueryOutcome> outcome) { promise.set_value(std::move(outcome)); });
    return promise.get_future().get();
  }
  uint64_t Count(const MemoryHandle& memory, PartitionSelection partitions = {}, RowFilter filter = {}) {
    auto count = deployment_->Count(memory, {.partitions = std::move(partitions), .filter = std::move(filter)});
    EXPECT_TRUE(count.ok()) << count.status();
    return count.value_or(0);
  }
  absl::Status Build(const MemoryHandle& memory, bool retrain = false) {
    return deployment_->BuildIndex(memory, retrain, [](const BuildProgress&) { return true; });
  }

 private:
  const uint32_t shards_;
  const DeploymentOptions options_;
  TemporaryDirectory directory_;
  ManualClock clock_{1'000'000};
  std::unique_ptr<LocalDeployment> deployment_;
};

inline QueryCommand ExactQuery(const std::vector<float>& queries, size_t count, uint32_t k) {
  QueryCommand command;
  command.queries.Resize(queries.size() * sizeof(float));
  std::memcpy(command.queries.data(), queries.data(), queries.size() * sizeof(float));
  command.count = count;
  command.k = k;
  command.exact = true;
  return command;
}

inline MemorySpec TokenMemory(const std::string& name, uint32_t dimension, Metric metric = Metric::kL2) {
  MemorySpec spec;
  spec.name = name;
  spec.dimension = dimension;
  spec.metric = metric;
  spec.vocabulary_size = 1000;
  return spec;
}

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_DEPLOYMENT_FIXTURE_H_
