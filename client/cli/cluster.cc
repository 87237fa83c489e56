// `mneme cluster show`.
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/cli/describe.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
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

}  // namespace

void AddCluster(Command app, Action& action) {
  Command group = app.AddVerbGroup("cluster", "Look after a deployment of several processes: show", kServer,
                                   "  mneme cluster show\n  mneme cluster show --digest");
  auto digest = std::make_shared<bool>(false);
  Command show = group.AddVerb("show", "Show each replica of each shard, and how far it is with its log", kMore,
                               "  mneme cluster show -o json\n  mneme cluster show --digest");
  show.AddFlag("--digest", *digest, "Compare what the replicas of a shard hold; fails when two of them differ");
  show.WhenGiven([digest, &action] { action = [digest](Session& session) { return Show(*digest, session); }; });
}

}  // namespace mneme::cli
