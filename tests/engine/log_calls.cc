#include "tests/engine/log_calls.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/routing.h"
#include "tests/engine/deployment_fixture.h"

namespace mneme::testing {
namespace {

MemoryHandle Memory(MemoryNumber number, const MemorySpec& spec) {
  MemoryRecord record;
  record.number = number;
  record.spec = spec;
  return std::make_shared<const MemoryRecord>(record);
}

}  // namespace

std::map<MemoryNumber, MemoryHandle> SimulatedMemories() {
  MemorySpec bounded = TokenMemory("bounded", 2);
  bounded.spread = Spread::kOne;
  bounded.capacity = 5;
  MemorySpec learned = TokenMemory("learned", 2, Metric::kCosine);
  learned.spread = Spread::kOne;
  learned.capacity = 4;
  return {{1, Memory(1, TokenMemory("plain", 2))}, {2, Memory(2, bounded)}, {3, Memory(3, learned)}};
}

int64_t LogCalls::Expiry(int64_t now_ms) {
  if (!OneIn(3)) return 0;
  int64_t expiry_ms = now_ms + 500 + static_cast<int64_t>(Below(30'000));
  while (!expiries_.insert(expiry_ms).second) ++expiry_ms;
  return expiry_ms;
}

LogCall LogCalls::Call(MemoryNumber memory, std::function<LoggedOperation(const RequestIdentity&)> make) {
  LogCall call;
  call.memory = memory;
  call.request = {{++calls_, 7}, 1000 + calls_};
  asked_.push_back(call.request);
  call.make = [make = std::move(make), request = call.request] { return make(request); };
  return call;
}

LogCall LogCalls::Insert(MemoryNumber memory, bool with_ids, int64_t now_ms) {
  std::vector<PlainEntry> entries(1 + Below(4));
  for (PlainEntry& entry : entries) {
    entry.id = Below(10);
    entry.key = {static_cast<float>(1 + Below(9)), static_cast<float>(Below(9))};
    entry.token = static_cast<Token>(Below(1000));
    entry.attributes.source = Below(3);
    entry.attributes.label = static_cast<int64_t>(Below(5));
    entry.attributes.expiry_ms = Expiry(now_ms);
  }
  const PartitionId partition = Below(2);
  return Call(memory, [=](const RequestIdentity& request) {
    InsertOperation insert;
    insert.ticket.request = request;
    insert.partition = partition;
    insert.entries = ColumnsOf(TokenMemory("any", 2), entries, with_ids);
    return LoggedOperation(std::move(insert));
  });
}

LogCall LogCalls::DeleteIds(MemoryNumber memory) {
  std::vector<EntryId> ids;
  for (uint64_t i = 1 + Below(4); i > 0; --i) {
    ids.push_back(!given_.empty() && OneIn(2) ? given_[Below(given_.size())] : Below(10));
  }
  const PartitionId partition = Below(2);
  return Call(memory, [=](const RequestIdentity& request) {
    DeleteOperation erase;
    erase.ticket.request = request;
    erase.partitions = {partition};
    erase.ids = ids;
    return LoggedOperation(std::move(erase));
  });
}

LogCall LogCalls::DeleteMany(MemoryNumber memory) {
  const bool everything = OneIn(4);
  const bool all = OneIn(2);
  const std::vector<uint64_t> sources = {Below(2), 2};
  const PartitionId partition = Below(2);
  LogCall call = Call(memory, [=](const RequestIdentity& request) {
    DeleteOperation erase;
    erase.ticket.request = request;
    erase.all_partitions = all;
    if (!all) erase.partitions = {partition};
    erase.everything = everything;
    if (!everything) erase.filter.emplace().sources = sources;
    return LoggedOperation(std::move(erase));
  });
  call.always_named = true;
  return call;
}

LogCall LogCalls::Remember() {
  std::vector<float> queries;
  std::vector<int64_t> labels;
  for (uint64_t i = 1 + Below(3); i > 0; --i) {
    queries.push_back(static_cast<float>(1 + Below(5)));
    queries.push_back(static_cast<float>(Below(5)));
    labels.push_back(static_cast<int64_t>(Below(3)));
  }
  const uint64_t seed = Below(3);
  return Call(3, [=](const RequestIdentity& request) {
    RememberOperation remember;
    remember.ticket.request = request;
    remember.batch.queries.Append({reinterpret_cast<const char*>(queries.data()), queries.size() * sizeof(float)});
    remember.batch.count = labels.size();
    remember.batch.labels = labels;
    remember.batch.options.seed = seed;
    return LoggedOperation(std::move(remember));
  });
}

LogCall LogCalls::States(StateRequest request_of_states) {
  return Call(1, [request_of_states = std::move(request_of_states)](const RequestIdentity& request) {
    StateOperation states;
    states.ticket.request = request;
    states.request = request_of_states;
    return LoggedOperation(std::move(states));
  });
}

LogCall LogCalls::Register() {
  const std::string name = OneIn(2) ? "x" : "y";
  RegisterCall asked;
  asked.value = absl::StrCat("v", calls_);
  StateAction action = RegisterPut{asked.value, 0};
  asked.kind = RegisterCall::Kind::kPut;
  if (!OneIn(3)) {
    asked.kind = RegisterCall::Kind::kSwap;
    asked.expected_version = versions_[name] - (versions_[name] != 0 && OneIn(5) ? 1 : 0);
    action = RegisterCas{asked.expected_version, asked.value, 0};
  }
  mneme::ApplyStates apply;
  apply.commands.push_back({"r", name, action});
  LogCall call = States(std::move(apply));
  call.on = name;
  call.asked = asked;
  return call;
}

LogCall LogCalls::Batch(int64_t now_ms) {
  mneme::ApplyStates apply;
  if (OneIn(4)) apply.session_expiry_ms = Expiry(now_ms);
  const bool forks = OneIn(3);  // of which no state expires by itself
  for (uint64_t i = 1 + Below(4); i > 0; --i) {
    const std::string session = forks ? (OneIn(2) ? "f" : "f/1") : absl::StrCat("s", Below(2));
    const std::string name = absl::StrCat("n", Below(3));
    const int64_t expiry_ms = forks ? 0 : Expiry(now_ms);
    StateAction action = RegisterPut{absl::StrCat("v", calls_, ".", i), expiry_ms};
    const StateRows row{{1.0F + static_cast<float>(Below(3)), 2.0F}, 2};
    switch (Below(8)) {
      case 0: action = RegisterGet{}; break;
      case 1: action = RegisterCas{Below(3), absl::StrCat("c", calls_), expiry_ms}; break;
      case 2: action = RemoveState{}; break;
      case 3: action = CountersAdd{{1, 2}, {3, 4}, {5, -6}}; break;
      case 4: action = LinearApply{.keys = row, .values = row, .queries = {{}, 2}}; break;
      default: break;
    }
    apply.commands.push_back({session, name, std::move(action)});
  }
  return States(std::move(apply));
}

LogCall LogCalls::WholeSession(int64_t now_ms) {
  switch (Below(4)) {
    case 0: return States(ResetSessions{{absl::StrCat("s", Below(2)), "f/1", "f"}});
    case 1: {
      PutSession put;
      put.session = absl::StrCat("s", Below(2));
      put.expiry_ms = Expiry(now_ms);
      for (uint64_t i = Below(3); i > 0; --i) {
        put.states[absl::StrCat("n", i)] = std::make_shared<const StateRecord>(StateRecord{
            StateKind::kRegister, 1 + Below(5), Expiry(now_ms), absl::StrCat("put", calls_)});
      }
      return States(std::move(put));
    }
    default: {
      const bool back = OneIn(3);
      return States(ForkSession{back ? "f/1" : "f", back ? "f" : absl::StrCat("f/", 1 + Below(2)), OneIn(2)});
    }
  }
}

LogCall LogCalls::Refused(int64_t now_ms) {
  const uint64_t kind = Below(3);
  if (kind == 0) return Insert(9, true, now_ms);
  if (kind == 1) {
    return Call(1, [](const RequestIdentity& request) {
      InsertOperation insert;
      insert.ticket.request = request;
      insert.entries = ColumnsOf(TokenMemory("narrow", 1), {{.id = 1, .key = {1.0F}, .token = 1}});
      return LoggedOperation(std::move(insert));
    });
  }
  // An id of before, with other content.
  LogCall call = Insert(1, OneIn(2), now_ms);
  const RequestIdentity used{asked_[Below(asked_.size())].id, call.request.content};
  const auto make = std::move(call.make);
  call.request = used;
  call.make = [make, used] {
    LoggedOperation operation = make();
    TicketOf(operation)->request = used;
    return operation;
  };
  return call;
}

LogCall LogCalls::Next(int64_t now_ms) {
  LogCall call = AnyCall(now_ms);
  if (call.on.has_value() || call.always_named || !OneIn(6)) return call;
  call.make = [make = std::move(call.make)] {  // without a request id: twice is twice
    LoggedOperation operation = make();
    TicketOf(operation)->request.reset();
    return operation;
  };
  return call;
}

LogCall LogCalls::AnyCall(int64_t now_ms) {
  const uint64_t kind = Below(24);
  if (kind < 3) return Insert(1, true, now_ms);
  if (kind < 5) return Insert(1 + static_cast<MemoryNumber>(Below(2)), false, now_ms);
  if (kind < 8) return Insert(2, true, now_ms);
  if (kind < 10) return DeleteIds(1 + static_cast<MemoryNumber>(Below(2)));
  if (kind < 12) return DeleteMany(1 + static_cast<MemoryNumber>(Below(2)));
  if (kind < 14) return Remember();
  if (kind < 15) return OneIn(2) ? DeleteIds(3) : Insert(3, true, now_ms);
  if (kind < 19) return Register();
  if (kind < 21) return Batch(now_ms);
  if (kind < 22) return WholeSession(now_ms);
  return Refused(now_ms);
}

}  // namespace mneme::testing
