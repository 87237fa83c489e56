// Streams: the decode loop, and inserts under the server's window. Both through the client library.
#include <chrono>

#include "client/channel.h"
#include "client/memory_client.h"
#include "tests/bench/load_loop.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

// Tokens that stand for what followed the queries of step i.
std::string TaughtTokens(size_t step, size_t rows) {
  std::string column;
  for (size_t i = 0; i < rows; ++i) {
    const auto token = static_cast<uint32_t>((step * rows + i) % 1000);
    column.append(reinterpret_cast<const char*>(&token), sizeof(token));
  }
  return column;
}

v1::QueryStreamRequest Step(const LoadOptions& options, const QueryLoad& load, size_t i) {
  v1::QueryStreamRequest step;
  step.set_step(i + 1);
  *step.mutable_query() = load.Request(i);
  if (options.append && i > 0) {
    step.mutable_append()->set_durability(v1::DURABILITY_WRITTEN);
    step.mutable_append()->mutable_entries()->mutable_values()->set_tokens(TaughtTokens(i, load.Rows(i - 1)));
  }
  return step;
}

}  // namespace

nlohmann::json RunQueryStream(const LoadOptions& options, QueryLoad& load) {
  MemoryClient client(Require(NewChannel(options.server)));
  auto stream = client.OpenQueryStream();
  Measurement measured(options.server_pid);
  const Steady::time_point begin = Steady::now();
  bool counting = false;
  for (size_t i = 0; options.once ? i < load.requests() : true; ++i) {
    const double elapsed = SecondsBetween(begin, Steady::now());
    if (!counting && (options.once || elapsed >= options.warm_up)) {
      measured.Start();
      counting = true;
    }
    if (!options.once && elapsed >= options.warm_up + options.seconds) break;
    const v1::QueryStreamRequest step = Step(options, load, i);
    const Steady::time_point start = Steady::now();
    Require(stream->Write(step));
    const v1::QueryStreamResponse answer = Require(stream->Read());
    measured.Add(start, load.Rows(i), answer.ByteSizeLong());
    load.Keep(i, answer.response());
  }
  Require(stream->WritesDone());
  return measured.Report(1e3 * options.bound_ms);
}

nlohmann::json RunInsertStream(const LoadOptions& options, const InsertLoad& load) {
  MemoryClient client(Require(NewChannel(options.server)));
  auto stream = client.OpenInsertStream();
  Measurement measured(options.server_pid);
  const Steady::time_point begin = Steady::now();
  measured.Start();
  v1::InsertRequest request;
  size_t batches = 0;
  for (; options.once ? batches < load.requests() : SecondsBetween(begin, Steady::now()) < options.seconds; ++batches) {
    load.Fill(batches, request);
    const Steady::time_point start = Steady::now();
    Require(stream->Write(request));
    measured.Add(start, options.batch, 0);
  }
  const StreamProgress progress = Require(stream->Finish());
  // The rate is that of what was acknowledged, the last acknowledgement included.
  nlohmann::json report = measured.Report();
  report["seconds"] = SecondsBetween(begin, Steady::now());
  report["rows"] = progress.inserted;
  report["rows_per_second"] = static_cast<double>(progress.inserted) / report["seconds"].get<double>();
  return report;
}

}  // namespace mneme::bench
