// `mneme health` and `mneme ping`.
#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/describe.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

absl::Status Health(const std::string& service, Session& session) {
  ASSIGN_OR_RETURN(const bool serving, session.admin().IsServing(service));
  const char* word = serving ? "SERVING" : "NOT_SERVING";
  if (session.json()) {
    session.PrintJson({{"status", word}});
  } else {
    session.Print(absl::StrCat(word, "\n"));
  }
  if (serving) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(session.options().server, " is not serving"));
}

absl::Status Ping(int64_t count, Session& session) {
  std::vector<double> micros;
  v1::PingResponse response;
  for (int64_t i = 0; i < count; ++i) {
    const auto start = std::chrono::steady_clock::now();
    ASSIGN_OR_RETURN(response, session.admin().Ping());
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
  }
  // The first call also makes the connection.
  const double first = micros.front();
  std::sort(micros.begin(), micros.end());
  const auto quantile = [&](double q) { return micros[static_cast<size_t>(q * static_cast<double>(count - 1) + 0.5)]; };
  if (session.json()) {
    session.PrintJson({{"version", response.version()},
                       {"shards", response.shards()},
                       {"count", count},
                       {"first_us", first},
                       {"min_us", micros.front()},
                       {"p50_us", quantile(0.5)},
                       {"p90_us", quantile(0.9)},
                       {"p99_us", quantile(0.99)},
                       {"max_us", micros.back()}});
    return absl::OkStatus();
  }
  session.Print(absl::StrCat("mneme-server ", response.version(), ", ", response.shards(), " shard(s)\n"));
  Table table({"PINGS", "FIRST us", "MIN us", "P50 us", "P90 us", "P99 us", "MAX us"});
  table.Add({absl::StrCat(count), HumanNumber(first), HumanNumber(micros.front()), HumanNumber(quantile(0.5)),
             HumanNumber(quantile(0.9)), HumanNumber(quantile(0.99)), HumanNumber(micros.back())});
  session.Print(table.ToString());
  return absl::OkStatus();
}

}  // namespace

void AddHealth(Command app, Action& action) {
  Command health = app.AddVerb("health", "Ask whether the server is serving (exit 0 only then)", kServer,
                               "  mneme health && echo up");
  auto service = std::make_shared<std::string>();
  health.AddOption("--service", *service, "A service's name instead of the whole server").Type("NAME");
  health.WhenGiven([service, &action] {
    action = [service](Session& session) { return Health(*service, session); };
  });

  Command ping = app.AddVerb("ping", "Measure what a call costs", kServer, "  mneme ping -n 1000");
  auto count = std::make_shared<int64_t>(20);
  ping.AddOption("-n,--count", *count, "Calls").Type("N").ShowDefault().Range(int64_t{1}, limits::kMaxPings);
  ping.WhenGiven([count, &action] { action = [count](Session& session) { return Ping(*count, session); }; });
}

}  // namespace mneme::cli
