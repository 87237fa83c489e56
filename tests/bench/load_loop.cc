// Unary calls in flight.
//
// 1. Every client is a connection of its own with `in_flight` slots; one thread starts and ends all calls, as gRPC's
//    asynchronous API allows, so that the load costs the two cores as little as it can.
// 2. A slot that ends starts the next call at once, or when the rate allows.
// 3. Counting begins after the warm-up, and no call starts after the end.
#include "tests/bench/load_loop.h"

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>
#include <vector>

#include "client/retry.h"
#include "common/limits.h"
#include "mneme/v1/admin.grpc.pb.h"
#include "mneme/v1/memory.grpc.pb.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

// As client/channel.cc tunes its channels, but never shared: each client is a connection.
std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  constexpr int kMegabyte = 1 << 20;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  arguments.SetMaxSendMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kMegabyte);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 * kMegabyte);
  arguments.SetInt(GRPC_ARG_TCP_READ_CHUNK_SIZE, kMegabyte);
  arguments.SetInt(GRPC_ARG_TCP_MIN_READ_CHUNK_SIZE, kMegabyte / 16);
  arguments.SetInt(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, 4 * kMegabyte);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + std::chrono::seconds(10))) {
    Require(absl::UnavailableError("no connection to " + address));
  }
  return channel;
}

// What differs between queries, inserts and empty calls.
template <typename OfService, typename OfRequest, typename OfResponse>
struct Work {
  using Service = OfService;
  using Stub = typename Service::Stub;
  using Request = OfRequest;
  using Response = OfResponse;

  std::function<const Request&(size_t i, Request& scratch)> request;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> (Stub::*start)(grpc::ClientContext*, const Request&,
                                                                            grpc::CompletionQueue*);
  std::function<size_t(size_t i, const Response&)> rows;  // also looks at the answer
  size_t requests = 0;                                    // of one pass over the keys
};

template <typename TheWork>
class Loop {
  using Stub = typename TheWork::Stub;
  using Request = typename TheWork::Request;
  using Response = typename TheWork::Response;

 public:
  Loop(const LoadOptions& options, TheWork work)
      : options_(options), work_(std::move(work)), measured_(options.server_pid) {
    for (uint32_t c = 0; c < options.clients; ++c) {
      stubs_.push_back(TheWork::Service::NewStub(Connect(options.server)));
      for (uint32_t i = 0; i < options.in_flight; ++i) {
        slots_.push_back(std::make_unique<Slot>());
        slots_.back()->stub = stubs_.back().get();
        idle_.push_back(slots_.back().get());
      }
    }
  }

  Measurement Run() {
    const double warm_up = options_.once ? 0.0 : options_.warm_up;
    begin_ = next_due_ = Steady::now();
    if (options_.once) measured_.Start();
    while (true) {
      const double elapsed = SecondsBetween(begin_, Steady::now());
      if (!options_.once && !counting_ && elapsed >= warm_up) {
        measured_.Start();
        counting_ = true;
      }
      const bool over = options_.once ? next_ >= work_.requests : elapsed >= warm_up + options_.seconds;
      if (!over) StartIdle();
      if (over && running_ == 0) break;
      Wait();
    }
    return std::move(measured_);
  }

 private:
  struct Slot {
    Stub* stub = nullptr;
    size_t number = 0;
    Steady::time_point start;
    Request scratch;
    Response response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
  };

  void StartIdle() {
    while (!idle_.empty() && !(options_.once && next_ >= work_.requests)) {
      if (options_.rate > 0.0) {
        if (Steady::now() < next_due_) return;
        next_due_ += std::chrono::duration_cast<Steady::duration>(
            std::chrono::duration<double>(options_.batch / options_.rate));
      }
      Slot* slot = idle_.back();
      idle_.pop_back();
      slot->number = next_++;
      slot->context = std::make_unique<grpc::ClientContext>();
      const double deadline_ms = options_.deadline_ms > 0.0 ? options_.deadline_ms : 60'000.0;
      slot->start = Steady::now();
      slot->context->set_deadline(std::chrono::system_clock::now() +
                                  std::chrono::microseconds(static_cast<int64_t>(1e3 * deadline_ms)));
      const Request& request = work_.request(slot->number, slot->scratch);
      slot->reader = (slot->stub->*work_.start)(slot->context.get(), request, &queue_);
      slot->reader->StartCall();
      slot->response.Clear();
      slot->reader->Finish(&slot->response, &slot->status, slot);
      ++running_;
    }
  }

  void Wait() {
    void* tag = nullptr;
    bool ok = false;
    // Without a rate something is always running; with one, wake for the next start.
    auto until = std::chrono::system_clock::now() + std::chrono::milliseconds(100);
    if (options_.rate > 0.0 && !idle_.empty()) {
      until = std::chrono::system_clock::now() +
              std::chrono::duration_cast<std::chrono::microseconds>(next_due_ - Steady::now());
    }
    if (queue_.AsyncNext(&tag, &ok, until) != grpc::CompletionQueue::GOT_EVENT) return;
    Slot& slot = *static_cast<Slot*>(tag);
    --running_;
    const bool good = slot.status.ok();
    const size_t rows = good ? work_.rows(slot.number, slot.response) : 0;
    const std::string error =
        good ? "" : std::to_string(slot.status.error_code()) + " " + slot.status.error_message().substr(0, 80);
    measured_.Add(slot.start, rows, good ? slot.response.ByteSizeLong() : 0, error);
    idle_.push_back(&slot);
  }

  const LoadOptions& options_;
  const TheWork work_;
  grpc::CompletionQueue queue_;
  std::vector<std::unique_ptr<Stub>> stubs_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<Slot*> idle_;
  size_t next_ = 0;
  size_t running_ = 0;
  bool counting_ = false;
  Steady::time_point begin_;
  Steady::time_point next_due_;
  Measurement measured_;
};

}  // namespace

nlohmann::json RunQueries(const LoadOptions& options, QueryLoad& load) {
  uint64_t answers = 0;
  double search_us = 0.0;
  double queue_us = 0.0;
  v1::SearchStatistics last;
  Work<v1::MemoryService, v1::QueryRequest, v1::QueryResponse> work;
  work.request = [&](size_t i, v1::QueryRequest&) -> const v1::QueryRequest& { return load.Request(i); };
  work.start = &v1::MemoryService::Stub::PrepareAsyncQuery;
  work.requests = load.requests();
  work.rows = [&](size_t i, const v1::QueryResponse& response) {
    load.Keep(i, response);
    last = response.statistics();
    search_us += static_cast<double>(last.search_us());
    queue_us += static_cast<double>(last.queue_us());
    ++answers;
    return load.Rows(i);
  };
  nlohmann::json report = Loop(options, work).Run().Report(1e3 * options.bound_ms);
  const double count = static_cast<double>(std::max<uint64_t>(answers, 1));
  report["server"] = {{"search_us", search_us / count},           {"queue_us", queue_us / count},
                      {"rows_scanned", last.rows_scanned()},      {"lists_probed", last.lists_probed()},
                      {"rows_reranked", last.rows_reranked()},    {"segments", last.segments()},
                      {"tail_rows", last.tail_rows()},            {"exact", last.exact()}};
  return report;
}

nlohmann::json RunInserts(const LoadOptions& options, const InsertLoad& load) {
  Work<v1::MemoryService, v1::InsertRequest, v1::InsertResponse> work;
  work.request = [&](size_t i, v1::InsertRequest& scratch) -> const v1::InsertRequest& {
    load.Fill(i, scratch);
    scratch.set_request_id(NewRequestId());
    return scratch;
  };
  work.start = &v1::MemoryService::Stub::PrepareAsyncInsert;
  work.requests = load.requests();
  work.rows = [](size_t, const v1::InsertResponse& response) { return response.inserted(); };
  return Loop(options, work).Run().Report(1e3 * options.bound_ms);
}

nlohmann::json RunPings(const LoadOptions& options) {
  Work<v1::AdminService, v1::PingRequest, v1::PingResponse> work;
  work.request = [](size_t, v1::PingRequest& scratch) -> const v1::PingRequest& { return scratch; };
  work.start = &v1::AdminService::Stub::PrepareAsyncPing;
  work.rows = [](size_t, const v1::PingResponse&) { return size_t{1}; };
  return Loop(options, work).Run().Report(1e3 * options.bound_ms);
}

}  // namespace mneme::bench
