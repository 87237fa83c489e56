#include "engine/state_commands.h"

#include <algorithm>
#include <bit>
#include <initializer_list>

#include "engine/content_hash.h"

namespace mneme {
namespace {

constexpr uint64_t kOverheadBytes = 64;

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <typename... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;

size_t BytesOf(std::initializer_list<const StateRows*> all) {
  size_t bytes = 0;
  for (const StateRows* rows : all) bytes += rows->items.size() * sizeof(float);
  return bytes;
}

void AddTo(ContentHash& hash, std::initializer_list<const StateRows*> all) {
  for (const StateRows* rows : all) {
    hash.Add(uint64_t{rows->columns});
    hash.Add(rows->items);
  }
}

uint64_t BytesOf(const StateAction& action) {
  return std::visit(Overloaded{[](const RegisterPut& put) { return put.value.size(); },
                               [](const RegisterCas& cas) { return cas.value.size(); },
                               [](const LinearApply& linear) {
                                 return BytesOf({&linear.keys, &linear.values, &linear.queries});
                               },
                               [](const FeedbackAttend& block) {
                                 return BytesOf({&block.queries, &block.keys, &block.values, &block.fam_queries,
                                                 &block.fam_keys, &block.fam_values});
                               },
                               [](const CountersAdd& add) {
                                 return (add.rows.size() + add.columns.size()) * sizeof(uint32_t) +
                                        add.counts.size() * sizeof(int64_t);
                               },
                               [](const CountersGet& get) { return get.rows.size() * sizeof(uint32_t); },
                               [](const auto&) { return size_t{0}; }},
                    action);
}

void AddTo(ContentHash& hash, const StateAction& action) {
  hash.Add(uint64_t{action.index()});
  std::visit(Overloaded{[&](const RegisterPut& put) {
                          hash.Add(put.value);
                          hash.Add(static_cast<uint64_t>(put.expiry_ms));
                        },
                        [&](const RegisterCas& cas) {
                          hash.Add(cas.expected_version);
                          hash.Add(cas.value);
                          hash.Add(static_cast<uint64_t>(cas.expiry_ms));
                        },
                        [&](const LinearApply& linear) {
                          AddTo(hash, {&linear.keys, &linear.values, &linear.queries});
                          hash.Add(static_cast<uint64_t>(linear.rule) * 2 + static_cast<uint64_t>(linear.order));
                          hash.Add(uint64_t{linear.segment_length});
                          hash.Add(std::bit_cast<uint64_t>(linear.epsilon));
                        },
                        [&](const FeedbackAttend& block) {
                          AddTo(hash, {&block.queries, &block.keys, &block.values, &block.fam_queries,
                                       &block.fam_keys, &block.fam_values});
                          hash.Add(static_cast<uint64_t>(block.block_index));
                          hash.Add(std::bit_cast<uint64_t>(block.scale));
                          hash.Add(uint64_t{block.ring_blocks} * 2 + (block.causal ? 1 : 0));
                        },
                        [&](const CountersAdd& add) {
                          hash.Add(add.rows);
                          hash.Add(add.columns);
                          hash.Add(add.counts);
                        },
                        [&](const CountersGet& get) { hash.Add(get.rows); }, [](const auto&) {}},
             action);
}

}  // namespace

bool IsRead(const StateAction& action) {
  if (const auto* linear = std::get_if<LinearApply>(&action)) return linear->keys.items.empty();
  return std::holds_alternative<RegisterGet>(action) || std::holds_alternative<LinearGet>(action) ||
         std::holds_alternative<FeedbackGet>(action) || std::holds_alternative<CountersGet>(action);
}

uint64_t StateAnswer::PayloadBytes() const {
  uint64_t bytes = value.size();
  for (const std::string& column : columns) bytes += column.size();
  return bytes;
}

bool AddsBytes(const StateRequest& request) {
  const auto* const apply = std::get_if<ApplyStates>(&request);
  if (apply == nullptr) return !std::holds_alternative<ResetSessions>(request);
  return std::any_of(apply->commands.begin(), apply->commands.end(), [](const StateCommand& command) {
    return !IsRead(command.action) && !std::holds_alternative<RemoveState>(command.action);
  });
}

uint64_t BytesOf(const StateRequest& request) {
  return std::visit(Overloaded{[](const ApplyStates& apply) {
                                 uint64_t bytes = 0;
                                 for (const StateCommand& command : apply.commands) {
                                   bytes += kOverheadBytes + command.session.size() + command.name.size() +
                                            BytesOf(command.action);
                                 }
                                 return bytes;
                               },
                               [](const ResetSessions& reset) {
                                 uint64_t bytes = 0;
                                 for (const std::string& session : reset.sessions) {
                                   bytes += kOverheadBytes + session.size();
                                 }
                                 return bytes;
                               },
                               [](const ForkSession& fork) {
                                 return kOverheadBytes + fork.from.size() + fork.to.size();
                               },
                               [](const PutSession& put) {
                                 uint64_t bytes = kOverheadBytes;
                                 for (const auto& [name, state] : put.states) {
                                   bytes += kOverheadBytes + name.size() + state->payload.size();
                                 }
                                 return bytes;
                               }},
                    request);
}

uint64_t ContentOf(const StateRequest& request) {
  ContentHash hash;
  hash.Add("working memory");
  hash.Add(uint64_t{request.index()});
  std::visit(Overloaded{[&](const ApplyStates& apply) {
                          for (const StateCommand& command : apply.commands) {
                            hash.Add(command.session);
                            hash.Add(command.name);
                            AddTo(hash, command.action);
                          }
                          hash.Add(static_cast<uint64_t>(apply.session_expiry_ms));
                        },
                        [&](const ResetSessions& reset) {
                          for (const std::string& session : reset.sessions) hash.Add(session);
                        },
                        [&](const ForkSession& fork) {
                          hash.Add(fork.from);
                          hash.Add(fork.to);
                          hash.Add(uint64_t{fork.replace});
                        },
                        [&](const PutSession& put) {
                          hash.Add(put.session);
                          hash.Add(static_cast<uint64_t>(put.expiry_ms));
                          for (const auto& [name, state] : put.states) {
                            hash.Add(name);
                            hash.Add(static_cast<uint64_t>(state->kind));
                            hash.Add(state->version);
                            hash.Add(static_cast<uint64_t>(state->expiry_ms));
                            hash.Add(state->payload);
                          }
                        }},
             request);
  return hash.value();
}

}  // namespace mneme
