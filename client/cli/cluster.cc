// `mneme cluster show`, `mneme cluster add`, `mneme cluster drain` and `mneme cluster move`.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/describe.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

std::string StateWord(v1::ReplicaState state) {
  switch (state) {
    case v1::REPLICA_STATE_SERVING: return "serving";
    case v1::REPLICA_STATE_REPLAYING: return "replaying";
    case v1::REPLICA_STATE_LOST: return "lost";
    case v1::REPLICA_STATE_FAILED: return "failed";
    case v1::REPLICA_STATE_AWAY: return "away";
    default: return "unknown";
  }
}

// Records of the log that it has not applied.
uint64_t LagOf(const v1::ShowClusterResponse& replica) {
  return replica.log_end() > replica.applied() ? replica.log_end() - replica.applied() : 0;
}

Json ReplicaJson(const v1::ShowClusterResponse& replica) {
  Json json = {{"shard", replica.shard()},
               {"replica", replica.replica()},
               {"address", replica.address()},
               {"state", StateWord(replica.state())}};
  if (!replica.detail().empty()) json["detail"] = replica.detail();
  if (replica.state() == v1::REPLICA_STATE_AWAY) return json;
  json["applied"] = replica.applied();
  json["log_end"] = replica.log_end();
  json["lag"] = LagOf(replica);
  json["entries"] = replica.entries();
  if (!replica.digest().empty()) {
    json["digest"] = absl::BytesToHexString(replica.digest());
    json["digest_applied"] = replica.digest_applied();
  }
  return json;
}

// Two replicas of a shard that hold different things: digests of a shard are of one offset of its log.
absl::Status Compare(const std::vector<v1::ShowClusterResponse>& replicas) {
  std::map<uint32_t, const v1::ShowClusterResponse*> first;
  for (const v1::ShowClusterResponse& replica : replicas) {
    if (replica.digest().empty()) continue;
    const v1::ShowClusterResponse& other = *first.emplace(replica.shard(), &replica).first->second;
    if (other.digest() == replica.digest() && other.digest_applied() == replica.digest_applied()) continue;
    return absl::DataLossError(absl::StrCat("replicas ", other.replica(), " and ", replica.replica(),
                                            " of shard ", replica.shard(), " differ at offset ",
                                            replica.digest_applied(), " of its log"));
  }
  return absl::OkStatus();
}

absl::Status Show(bool digest, Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::ShowClusterResponse> replicas, session.admin().ShowCluster(digest));
  if (session.json()) {
    Json all = Json::array();
    for (const v1::ShowClusterResponse& replica : replicas) all.push_back(ReplicaJson(replica));
    session.PrintJson({{"replicas", all}});
    return Compare(replicas);
  }
  std::vector<std::string> header = {"SHARD", "REPLICA", "ADDRESS", "STATE", "APPLIED", "LOG END", "LAG", "ENTRIES"};
  for (const char* column : {"DIGEST", "AT"}) {
    if (digest) header.emplace_back(column);
  }
  const size_t columns = header.size();
  Table table(std::move(header));
  for (const v1::ShowClusterResponse& replica : replicas) {
    std::vector<std::string> row = {absl::StrCat(replica.shard()), absl::StrCat(replica.replica()),
                                    replica.address().empty() ? "here" : replica.address(),
                                    StateWord(replica.state())};
    if (replica.state() != v1::REPLICA_STATE_AWAY) {
      row.insert(row.end(), {absl::StrCat(replica.applied()), absl::StrCat(replica.log_end()),
                             absl::StrCat(LagOf(replica)), HumanCount(replica.entries())});
    }
    if (!replica.digest().empty()) {
      row.insert(row.end(), {absl::BytesToHexString(replica.digest()), absl::StrCat(replica.digest_applied())});
    }
    row.resize(columns);
    table.Add(std::move(row));
  }
  session.Print(table.ToString());
  for (const v1::ShowClusterResponse& replica : replicas) {
    if (replica.detail().empty()) continue;
    session.Note(absl::StrCat("shard ", replica.shard(), ", replica ", replica.replica(), ": ", replica.detail()));
  }
  return Compare(replicas);
}

// "waiting for b:7720: replaying, 1,200 of 65,536", or why it does not answer.
std::string StepLine(const v1::ChangeReplicasResponse& step) {
  const v1::ShowClusterResponse& replica = step.replica();
  if (step.stage() != "waiting") return absl::StrCat(step.stage(), " ", replica.address());  // its detail comes last
  const std::string waits = absl::StrCat("waiting for ", replica.address(), ": ", StateWord(replica.state()));
  if (!replica.detail().empty()) return absl::StrCat(waits, " (", replica.detail(), ")");
  return absl::StrFormat("%s, %s of %s records", waits, HumanCount(replica.applied()), HumanCount(replica.log_end()));
}

absl::Status Change(const v1::ChangeReplicasRequest& request, Session& session) {
  Progress progress(session.live(), "cluster", "records", 0);
  std::string said;  // a line for each stage and state, where nothing is redrawn
  std::string of_list;
  ASSIGN_OR_RETURN(const v1::ChangeReplicasResponse changed,
                   session.admin().ChangeReplicas(request, [&](const v1::ChangeReplicasResponse& step) {
                     if (step.stage() == "done") return true;
                     if (step.stage() != "waiting" && of_list.empty()) of_list = step.replica().detail();
                     progress.SetLine(absl::StrCat(StepLine(step), "  ", HumanSeconds(progress.seconds())));
                     const std::string now = absl::StrCat(step.stage(), StateWord(step.replica().state()));
                     if (!session.live() && std::exchange(said, now) != now) session.Note(StepLine(step));
                     return true;
                   }));
  if (!of_list.empty()) session.Note(of_list);
  if (session.json()) {
    session.PrintJson({{"shard", changed.shard()},
                       {"replicas", std::vector<std::string>(changed.replicas().begin(), changed.replicas().end())},
                       {"seconds", progress.seconds()}});
    return absl::OkStatus();
  }
  std::string list;
  for (const std::string& address : changed.replicas()) {
    if (!address.empty()) absl::StrAppend(&list, list.empty() ? "" : ", ", address);
  }
  session.Note(absl::StrCat("the replicas of shard ", changed.shard(), " are ", list, ", after ",
                            HumanSeconds(progress.seconds())));
  if (!request.drain().empty()) {
    session.Note(absl::StrCat("no front end asks ", request.drain(), " any more: its process may be stopped"));
  }
  return absl::OkStatus();
}

}  // namespace

void AddCluster(Command app, Action& action) {
  Command group = app.AddVerbGroup("cluster", "Look after a deployment of several processes: show, add, drain, move",
                                   kServer,
                                   "  mneme cluster show --digest\n  mneme cluster add 1 c:7720\n"
                                   "  mneme cluster drain a:7720\n  mneme cluster move a:7720 c:7720");
  auto digest = std::make_shared<bool>(false);
  Command show = group.AddVerb("show", "Show each replica of each shard, and how far it is with its log", kMore,
                               "  mneme cluster show -o json\n  mneme cluster show --digest");
  show.AddFlag("--digest", *digest, "Compare what the replicas of a shard hold; fails when two of them differ");
  show.WhenGiven([digest, &action] { action = [digest](Session& session) { return Show(*digest, session); }; });
  // What was typed, for the verb that is given.
  auto request = std::make_shared<v1::ChangeReplicasRequest>();
  auto shard = std::make_shared<uint32_t>(0);
  auto added = std::make_shared<std::string>();
  auto drained = std::make_shared<std::string>();
  const auto change = [request, shard, added, drained, &action] {
    request->set_shard(*shard);
    request->set_add(*added);
    request->set_drain(*drained);
    action = [request](Session& session) { return Change(*request, session); };
  };
  Command add = group.AddVerb("add", "Add a replica to a shard, once it has what the others have", kMore,
                              "  mneme cluster add 1 c:7720\n  mneme cluster add 1 c:7720 -o json");
  add.AddOption("shard", *shard, "The shard's number").Required().Type("").Range(0U, limits::kMaxShards - 1);
  add.AddOption("address", *added, "HOST:PORT of its process, which was started").Required().Type("");
  add.WhenGiven(change);
  Command drain = group.AddVerb("drain", "Have nobody ask a replica any more, so that it may be stopped", kMore,
                                "  mneme cluster drain a:7720");
  drain.AddOption("address", *drained, "HOST:PORT of the replica").Required().Type("");
  drain.WhenGiven(change);
  Command move = group.AddVerb("move", "Add a replica in the place of another, and drain that", kMore,
                               "  mneme cluster move a:7720 c:7720");
  move.AddOption("from", *drained, "HOST:PORT of the replica").Required().Type("");
  move.AddOption("to", *added, "HOST:PORT of the process that takes its place, which was started").Required().Type("");
  move.WhenGiven(change);
}

}  // namespace mneme::cli
