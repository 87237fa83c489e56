// How requests to working memory and their outcomes are laid flat (flat_codec.h). Requests are part of the records of a
// shard's log (docs/formats.md): a change of what stands here is a new version of them.
#ifndef MNEME_ENGINE_FLAT_STATES_H_
#define MNEME_ENGINE_FLAT_STATES_H_

#include "engine/flat_codec.h"
#include "engine/state_commands.h"
#include "storage/states.h"

namespace mneme {

template <typename Codec, OneOf<RegisterPut> T>
void Describe(Codec& codec, T& put) {
  codec(put.value, put.expiry_ms);
}
template <typename Codec, OneOf<RegisterGet> T>
void Describe(Codec&, T&) {}
template <typename Codec, OneOf<RegisterCas> T>
void Describe(Codec& codec, T& cas) {
  codec(cas.expected_version, cas.value, cas.expiry_ms);
}
template <typename Codec, OneOf<RemoveState> T>
void Describe(Codec&, T&) {}
template <typename Codec, OneOf<StateRows> T>
void Describe(Codec& codec, T& rows) {
  codec(rows.items, rows.columns);
}
template <typename Codec, OneOf<LinearApply> T>
void Describe(Codec& codec, T& apply) {
  codec(apply.keys, apply.values, apply.queries);
  codec.Enum(apply.rule, LinearRule::kLinear, LinearRule::kDelta);
  codec.Enum(apply.order, LinearOrder::kReadThenWrite, LinearOrder::kWriteThenRead);
  codec(apply.segment_length, apply.epsilon);
}
template <typename Codec, OneOf<LinearGet> T>
void Describe(Codec&, T&) {}
template <typename Codec, OneOf<FeedbackAttend> T>
void Describe(Codec& codec, T& block) {
  codec(block.block_index, block.scale, block.ring_blocks, block.causal, block.queries, block.keys, block.values,
        block.fam_queries, block.fam_keys, block.fam_values);
}
template <typename Codec, OneOf<FeedbackGet> T>
void Describe(Codec&, T&) {}
template <typename Codec, OneOf<CountersAdd> T>
void Describe(Codec& codec, T& add) {
  codec(add.rows, add.columns, add.counts);
}
template <typename Codec, OneOf<CountersGet> T>
void Describe(Codec& codec, T& get) {
  codec(get.rows);
}
template <typename Codec, OneOf<StateCommand> T>
void Describe(Codec& codec, T& command) {
  codec(command.session, command.name, command.action);
}

template <typename Codec, OneOf<ApplyStates> T>
void Describe(Codec& codec, T& apply) {
  codec(apply.commands, apply.session_expiry_ms);
}
template <typename Codec, OneOf<ResetSessions> T>
void Describe(Codec& codec, T& reset) {
  codec(reset.sessions);
}
template <typename Codec, OneOf<ForkSession> T>
void Describe(Codec& codec, T& fork) {
  codec(fork.from, fork.to, fork.replace);
}
template <typename Codec, OneOf<StateRecord> T>
void Describe(Codec& codec, T& record) {
  codec.Enum(record.kind, StateKind::kRemoved, StateKind::kPiece);
  codec(record.version, record.expiry_ms, record.payload);
}
template <typename Codec, OneOf<PutSession> T>
void Describe(Codec& codec, T& put) {
  codec(put.session, put.states, put.expiry_ms);
}

template <typename Codec, OneOf<StateAnswer> T>
void Describe(Codec& codec, T& answer) {
  codec(answer.status, answer.found, answer.version, answer.reread, answer.value, answer.expiry_ms,
        answer.key_dimension, answer.value_dimension, answer.tokens, answer.last_block, answer.columns);
}
template <typename Codec, OneOf<StateOutcome> T>
void Describe(Codec& codec, T& outcome) {
  codec(outcome.answers, outcome.count);
}

template <typename Codec, OneOf<SessionRecord> T>
void Describe(Codec& codec, T& record) {
  codec(record.number, record.bases, record.states, record.bytes, record.expiry_ms);
}
template <typename Codec, OneOf<NamedSession> T>
void Describe(Codec& codec, T& named) {
  codec(named.session, named.record);
}

}  // namespace mneme

#endif  // MNEME_ENGINE_FLAT_STATES_H_
