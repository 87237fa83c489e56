// AppendPort: a shard of another deployment in this process, as a front end hands writes over to it.
#ifndef MNEME_TESTS_ENGINE_APPEND_PORT_H_
#define MNEME_TESTS_ENGINE_APPEND_PORT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/local_deployment.h"
#include "engine/shard_port.h"

namespace mneme::testing {

// Borrows the deployment.
class AppendPort final : public ShardPort {
 public:
  AppendPort(LocalDeployment* shard, uint32_t number) : shard_(shard), number_(number) {}
  uint32_t number() const override { return number_; }
  absl::Status Submit(WriteOperation operation) override { return shard_->Append(std::move(operation)); }
  absl::StatusOr<StateOutcome> ReadStates(const MemoryRecord& memory, const ApplyStates& apply, int64_t stamp_ms,
                                          const CallLimits& limits) const override {
    return shard_->port().ReadStates(memory, apply, stamp_ms, limits);
  }
  absl::StatusOr<std::string> ReadSession(const MemoryRecord& memory, const std::string& session, int64_t stamp_ms,
                                          const CallLimits& limits) const override {
    return shard_->port().ReadSession(memory, session, stamp_ms, limits);
  }
  absl::StatusOr<std::vector<NamedSession>> ListSessions(const MemoryRecord& memory, const std::string& prefix,
                                                         const std::string& after, size_t limit,
                                                         const CallLimits& limits) const override {
    return shard_->port().ListSessions(memory, prefix, after, limit, limits);
  }

 private:
  LocalDeployment* const shard_;
  const uint32_t number_;
};

}  // namespace mneme::testing

#endif  // MNEME_TESTS_ENGINE_APPEND_PORT_H_
