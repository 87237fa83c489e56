// `mneme info`, `mneme list` and `mneme stats`.
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cli/describe.h"
#include "client/cli/table.h"
#include "client/cli/verbs.h"
#include "common/status_macros.h"

namespace mneme::cli {
namespace {

std::string ColourWord(v1::Colour colour) {
  if (colour == v1::COLOUR_RED) return "red";
  return colour == v1::COLOUR_YELLOW ? "yellow" : "green";
}

Json StatisticsJson(const v1::GetStatisticsResponse& statistics) {
  return {{"entries", statistics.entries()},
          {"dead_rows", statistics.dead_rows()},
          {"partitions", statistics.partitions()},
          {"tail_rows", statistics.tail_rows()},
          {"segments", statistics.segments()},
          {"codebooks", statistics.codebooks()},
          {"index_bytes", statistics.index_bytes()},
          {"store_bytes", statistics.store_bytes()},
          {"tail_ram_bytes", statistics.tail_ram_bytes()},
          {"drift", statistics.drift()},
          {"evicted", statistics.evicted()},
          {"expired", statistics.expired()},
          {"queued_searches", statistics.queued_searches()},
          {"queued_write_bytes", statistics.queued_write_bytes()},
          {"colour", ColourWord(statistics.colour())},
          {"colour_reason", statistics.colour_reason()},
          {"shards", statistics.shards()},
          {"memories", statistics.memories()},
          {"benefit", {{"tokens", statistics.benefit().tokens()}, {"nats", statistics.benefit().nats()}}}};
}

void AddStatistics(const v1::GetStatisticsResponse& statistics, Table& table) {
  table.Add({"entries", HumanCount(statistics.entries())});
  table.Add({"dead rows", HumanCount(statistics.dead_rows())});
  table.Add({"partitions", HumanCount(statistics.partitions())});
  table.Add({"tail rows", HumanCount(statistics.tail_rows())});
  table.Add({"segments", HumanCount(statistics.segments())});
  table.Add({"codebooks", HumanCount(statistics.codebooks())});
  table.Add({"index", HumanBytes(statistics.index_bytes())});
  table.Add({"store", HumanBytes(statistics.store_bytes())});
  table.Add({"tail in ram", HumanBytes(statistics.tail_ram_bytes())});
  if (statistics.drift() > 0) {
    table.Add({"drift", absl::StrCat(HumanNumber(statistics.drift()), " (trained anew beyond 2)")});
  }
  if (statistics.evicted() > 0) table.Add({"evicted", HumanCount(statistics.evicted())});
  if (statistics.expired() > 0) table.Add({"expired", HumanCount(statistics.expired())});
  table.Add({"queued searches", HumanCount(statistics.queued_searches())});
  table.Add({"queued writes", HumanBytes(statistics.queued_write_bytes())});
  table.Add({"shards", HumanCount(statistics.shards())});
  const std::string reason = statistics.colour_reason();
  table.Add({"colour", ColourWord(statistics.colour()) + (reason.empty() ? "" : ": " + reason)});
  if (statistics.benefit().tokens() > 0) {
    const double mean = statistics.benefit().nats() / static_cast<double>(statistics.benefit().tokens());
    table.Add({"benefit", absl::StrCat(HumanNumber(mean), " nats a token, over ",
                                       HumanCount(statistics.benefit().tokens()), " tokens")});
  }
}

absl::Status Info(const std::string& name, Session& session) {
  ASSIGN_OR_RETURN(const v1::MemoryDescription memory, session.admin().GetMemory(name));
  ASSIGN_OR_RETURN(const v1::GetStatisticsResponse statistics, session.admin().GetStatistics(name));
  Json document = MemoryJson(memory);
  if (session.json()) {
    document["entries"] = statistics.entries();
    document["statistics"] = StatisticsJson(statistics);
    session.PrintJson(document);
    return absl::OkStatus();
  }
  Table table({});
  table.Add({"memory", memory.name()});
  table.Add({"keys", absl::StrCat(DtypeWord(memory.key_dtype()), " x ", memory.dimension(), ", ",
                                  MetricWord(memory.metric()))});
  std::string values = ValueWord(memory.value_kind());
  if (memory.vocabulary_size() > 0) absl::StrAppend(&values, " below ", HumanCount(memory.vocabulary_size()));
  if (memory.value_dimension() > 0) absl::StrAppend(&values, " of f32 x ", memory.value_dimension());
  table.Add({"values", values});
  table.Add({"index", memory.index()});
  if (memory.capacity() > 0) table.Add({"capacity", absl::StrCat(HumanCount(memory.capacity()), " in each partition")});
  for (const auto& [field, text] : document["fingerprint"].items()) {
    table.Add({field, text.is_string() ? text.get<std::string>() : text.dump()});
  }
  table.Add({"created", absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", absl::FromUnixMillis(memory.created_ms()),
                                         absl::UTCTimeZone())});
  AddStatistics(statistics, table);
  session.Print(table.ToString());
  return absl::OkStatus();
}

absl::Status List(Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::MemoryDescription> memories, session.admin().ListMemories());
  if (session.json()) {
    Json all = Json::array();
    for (const v1::MemoryDescription& memory : memories) all.push_back(MemoryJson(memory));
    session.PrintJson({{"memories", all}});
    return absl::OkStatus();
  }
  Table table({"NAME", "DIM", "METRIC", "KEYS", "VALUE"});
  for (const v1::MemoryDescription& memory : memories) {
    table.Add({memory.name(), absl::StrCat(memory.dimension()), MetricWord(memory.metric()),
               DtypeWord(memory.key_dtype()), ValueWord(memory.value_kind())});
  }
  if (table.empty()) {
    session.Note("no memories yet; see: mneme create --help");
  } else {
    session.Print(table.ToString());
  }
  return absl::OkStatus();
}

absl::Status Stats(const std::string& name, Session& session) {
  ASSIGN_OR_RETURN(const v1::GetStatisticsResponse statistics, session.admin().GetStatistics(name));
  if (session.json()) {
    session.PrintJson(StatisticsJson(statistics));
    return absl::OkStatus();
  }
  Table table({});
  if (name.empty()) table.Add({"memories", HumanCount(statistics.memories())});
  AddStatistics(statistics, table);
  session.Print(table.ToString());
  return absl::OkStatus();
}

}  // namespace

void AddInfo(Command app, Action& action) {
  auto name = std::make_shared<std::string>();
  Command info = app.AddVerb("info", "Describe a memory", kMemories, "  mneme info wiki\n  mneme info wiki -o json");
  info.AddOption("memory", *name, "The memory's name").Required().Type("");
  info.WhenGiven([name, &action] { action = [name](Session& session) { return Info(*name, session); }; });

  Command list = app.AddVerb("list", "List the memories", kMemories, "  mneme list");
  list.WhenGiven([&action] { action = [](Session& session) { return List(session); }; });

  Command stats = app.AddVerb("stats", "Count rows, bytes and queues, of a memory or of all", kServer,
                              "  mneme stats\n  mneme stats wiki -o json");
  stats.AddOption("memory", *name, "The memory's name; all of the server without").Type("");
  stats.WhenGiven([name, &action] { action = [name](Session& session) { return Stats(*name, session); }; });
}

}  // namespace mneme::cli
