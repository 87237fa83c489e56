#include "engine/state_commands.h"

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

uint64_t BytesOf(const StateAction& action) {
  return std::visit(Overloaded{[](const RegisterPut& put) { return put.value.size(); },
                               [](const RegisterCas& cas) { return cas.value.size(); },
                               [](const RegisterGet&) { return size_t{0}; },
                               [](const RemoveState&) { return size_t{0}; }},
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
                        [](const RegisterGet&) {}, [](const RemoveState&) {}},
             action);
}

}  // namespace

bool IsRead(const StateAction& action) { return std::holds_alternative<RegisterGet>(action); }

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
                        },
                        [&](const ResetSessions& reset) {
                          for (const std::string& session : reset.sessions) hash.Add(session);
                        }},
             request);
  return hash.value();
}

}  // namespace mneme
