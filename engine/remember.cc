#include "engine/remember.h"

#include <cstring>
#include <utility>

#include "engine/content_hash.h"
#include "engine/write_join.h"

namespace mneme {
namespace {

uint64_t BitsOf(double number) {
  uint64_t bits = 0;
  std::memcpy(&bits, &number, sizeof(bits));
  return bits;
}

uint64_t ContentOf(const RememberCommand& command) {
  const ObserveOptions& options = command.batch.options;
  ContentHash hash;
  hash.Add(command.partition);
  hash.Add(command.batch.queries.view());
  hash.Add(command.batch.labels);
  hash.Add(uint64_t{options.choose_k});
  hash.Add(BitsOf(options.alpha));
  hash.Add(BitsOf(options.age_noise));
  hash.Add(options.seed);
  hash.Add(uint64_t{options.learn});
  return hash.value();
}

}  // namespace

void SubmitRemember(const std::vector<ShardPort*>& shards, const Routing& routing, const MemoryHandle& memory,
                    RememberCommand command, int64_t stamp_ms,
                    std::function<void(absl::StatusOr<RememberOutcome>)> done) {
  const uint64_t content = command.request_id.empty() ? 0 : ContentOf(command);
  ShardPort& shard = *shards[*routing.OwnerOfPartition(*memory, command.partition)];
  RememberOperation operation;
  operation.ticket = MakeTicket(memory, {RequestScope(command.partition), command.request_id}, content,
                                command.durability, stamp_ms);
  operation.partition = command.partition;
  operation.batch = std::move(command.batch);
  auto join = std::make_shared<WriteJoin>(
      1, nullptr, [memory, done = std::move(done)](std::vector<WriteJoin::Answer> answers) {
        const WriteJoin::Answer& answer = answers.front();
        if (!answer.result.ok()) return done(answer.result.status());
        RememberOutcome outcome;
        outcome.answers = answer.result->slots;
        outcome.version.memory = memory->number;
        outcome.version.parts.push_back({answer.shard, answer.result->sequence});
        outcome.replayed = answer.result->replayed;
        done(std::move(outcome));
      });
  SubmitTo(shard, std::move(operation), join, /*wants_visible=*/false);
}

}  // namespace mneme
