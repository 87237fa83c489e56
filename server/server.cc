#include "server/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/resource_quota.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <future>
#include <iterator>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cluster/kafka_log.h"
#include "cluster/remote_deployment.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "grpc/health/v1/health.pb.h"
#include "security/channel_security.h"
#include "security/loopback.h"
#include "security/server_credentials.h"
#include "security/token_source.h"
#include "server/accept_within_limits.h"
#include "server/listen_error.h"
#include "server/open_logs.h"
#include "server/security_options.h"
#include "server/services.h"
#include "server/version.h"

namespace mneme {
namespace {

// What clients ask for in a health check, and what front ends ask of shards.
constexpr const char* kServices[] = {"mneme.v1.MemoryService", "mneme.v1.WorkingMemoryService",
                                     "mneme.v1.AdminService"};
constexpr const char* kShardServices[] = {"mneme.internal.v1.ShardService", "mneme.internal.v1.CatalogueService"};
// Calls that block in a front end wait for shards, which bound what they do.
constexpr size_t kWaitingCallWorkers = 32;
constexpr int kFrameBytes = 1024 * 1024;
constexpr int kLookaheadBytes = 16 * 1024 * 1024;

// HTTP/2 for large messages: measured 2.7 ms -> 0.95 ms for 64 queries (docs/architecture.md, "The wire").
void TuneTransport(grpc::ServerBuilder& builder, bool internal) {
  const int message_bytes = internal ? limits::kMaxInternalMessageBytes : static_cast<int>(limits::kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, kFrameBytes);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookaheadBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_READ_CHUNK_SIZE, kFrameBytes);
  builder.AddChannelArgument(GRPC_ARG_TCP_MAX_READ_CHUNK_SIZE, kLookaheadBytes);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             internal ? limits::kMaxInternalStreams : limits::kMaxConcurrentStreams);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, static_cast<int>(limits::kMaxMetadataBytes));
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, limits::kHandshakeMs);
  if (internal) {
    // A front end that is gone without a word holds nothing for longer.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  // A taken port is an error, not a second server behind it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(message_bytes);
  builder.SetMaxSendMessageSize(message_bytes);
  grpc::ResourceQuota quota("mneme");
  quota.Resize(limits::kMaxTransportBytes);
  builder.SetResourceQuota(quota);
}

// Reflection asks nobody who he is: it is for servers that do not either. gRPC adds it to every server of a process
// that is linked with it.
class WithoutReflection final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    std::erase_if(*plugins, [](const auto& plugin) { return plugin->name() == "proto_server_reflection"; });
  }
};

// Written beside and renamed, so that nobody reads half a number.
absl::Status WritePortFile(const std::string& path, int port) {
  if (path.empty()) return absl::OkStatus();
  const std::string temporary = absl::StrCat(path, ".tmp.", getpid());
  std::ofstream file(temporary, std::ios::trunc);
  file << port << "\n";
  file.close();
  if (file.fail() || std::rename(temporary.c_str(), path.c_str()) != 0) {
    return absl::UnavailableError(absl::StrCat("cannot write the port file ", path));
  }
  return absl::OkStatus();
}

// Worth a warning.
bool IsTrouble(const std::string& event) {
  constexpr const char* kEnds[] = {"_rebuilt", "_failed", "_lost", "_refused", "_wrong", "_awaited"};
  return event == "log_waits" || std::any_of(std::begin(kEnds), std::end(kEnds), [&event](const char* end) {
           return absl::EndsWith(event, end);
         });
}

}  // namespace

Server::Server(ServerOptions options, Log* log, std::function<bool()> give_up, std::unique_ptr<AccessControl> access)
    : options_(ResolveOptions(std::move(options))), give_up_(std::move(give_up)), log_(log), access_(std::move(access)),
      front_end_(log, &metrics_, access_.get(),
                 options_.role == Role::kFrontEnd ? kWaitingCallWorkers : limits::kCallWorkers,
                 options_.role == Role::kShard ? SIZE_MAX : limits::kMaxHeldAnswerBytes) {}

Server::~Server() { Drain(); }

absl::StatusOr<std::unique_ptr<Server>> Server::Start(ServerOptions options, Log* log,
                                                      std::function<bool()> give_up) {
  RETURN_IF_ERROR(CheckOptions(options));
  RETURN_IF_ERROR(CheckFiles(options));
  ASSIGN_OR_RETURN(std::unique_ptr<AccessControl> access, AccessControl::New(options.tokens));
  std::unique_ptr<Server> server(new Server(std::move(options), log, std::move(give_up), std::move(access)));
  server->WarnOfStrangers();
  server->WarnOfFiles();
  RETURN_IF_ERROR(server->StartAdmin());
  RETURN_IF_ERROR(server->Listen());
  // Those of a server that was killed: whoever waits for them waits for us. Not before it is clear that no other server
  // has the address, whose files they would be.
  server->RemovePortFiles();
  RETURN_IF_ERROR(server->OpenDeployment());
  server->SetServing(true);
  RETURN_IF_ERROR(server->WritePortFiles());
  log->Write(LogLevel::kInfo, "server", "serving",
             {{"version", kVersion},
              {"role", RoleName(server->options_.role)},
              {"port", static_cast<int64_t>(server->port())},
              {"admin_port", static_cast<int64_t>(server->admin_port())},
              {"shards", static_cast<int64_t>(server->deployment_->shards())}});
  return server;
}

absl::Status Server::StartAdmin() {
  if (options_.admin_listen == "off") return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto address, SplitAddress(options_.admin_listen));
  AdminPages pages;
  pages.metrics = [this] { return ExposeMetrics(); };
  pages.ready = [this] { return ready_.load(std::memory_order_acquire); };
  pages.config = [this] { return Config(); };
  std::unique_ptr<TlsIdentity> identity;
  if (AdminIsEncrypted(options_)) {
    ASSIGN_OR_RETURN(identity, TlsIdentity::New(options_.tls));
    pages.may_read = [this](const AdminReader& reader) { return MayReadPages(reader); };
  }
  ASSIGN_OR_RETURN(admin_,
                   AdminHttp::Start(address.first, address.second, std::move(pages), std::move(identity)));
  return absl::OkStatus();
}

bool Server::MayReadPages(const AdminReader& reader) const {
  if (options_.tokens.empty()) return options_.tls.ca.empty() || !reader.certificate.empty();
  return access_->MayReadPages(reader.authorization, reader.certificate);
}

absl::Status Server::Listen() {
  RaiseDescriptorLimit();
  grpc::EnableDefaultHealthCheckService(true);
  // Protobuf would print a line for every text that is not UTF-8; the caller is told (MALFORMED_REQUEST), stderr is
  // not.
  google::protobuf::SetLogHandler(nullptr);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  // The health service is gRPC's own; reflection can describe it only when its compiled file is linked in.
  grpc::health::v1::HealthCheckRequest::descriptor();
  const bool hosts_shard = options_.role == Role::kShard;
  if (hosts_shard) {
    services_.push_back(MakeShardService(front_end_));
    services_.push_back(MakeCatalogueService(front_end_));
  } else {
    services_.push_back(MakeMemoryService(front_end_));
    services_.push_back(MakeWorkingMemoryService(front_end_));
    services_.push_back(MakeAdminService(front_end_));
  }
  grpc::ServerBuilder builder;
  if (!options_.tokens.empty()) builder.SetOption(std::make_unique<WithoutReflection>());
  TuneTransport(builder, hosts_shard);
  std::vector<std::string> addresses = options_.listen;
  for (const std::string& path : options_.listen_unix) addresses.push_back(absl::StrCat("unix:", path));
  std::vector<int> ports(addresses.size(), 0);
  if (!options_.tls.ca.empty()) {
    // Without the grace a stream would go on for ever, and with it who is trusted no longer.
    const int age_ms = static_cast<int>(absl::ToInt64Milliseconds(options_.connection_age));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, age_ms);
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, age_ms);
  }
  const auto plain = grpc::InsecureServerCredentials();
  if (!options_.tls.empty()) {
    ASSIGN_OR_RETURN(credentials_, TlsServerCredentials(options_.tls));
  }
  for (size_t i = 0; i < addresses.size(); ++i) {
    const bool is_socket = i >= options_.listen.size();
    builder.AddListeningPort(addresses[i], is_socket || credentials_ == nullptr ? plain : credentials_, &ports[i]);
  }
  for (const auto& service : services_) builder.RegisterService(service.get());
  // Only this user and group may connect: a Unix socket is made with what the mask leaves.
  const mode_t mask = umask(0117);
  grpc_ = builder.BuildAndStart();
  umask(mask);
  // They are bound in this order, up to the first that fails.
  const auto failed = std::find(ports.begin(), ports.end(), 0);
  if (failed != ports.end()) return ListenError("address", addresses[failed - ports.begin()]);
  if (grpc_ == nullptr) return absl::UnavailableError("gRPC did not start; its lines in the log say more");
  SetServing(false);
  port_ = options_.listen.empty() ? 0 : ports.front();
  return absl::OkStatus();
}

absl::Status Server::OpenDeployment() {
  ASSIGN_OR_RETURN(logs_, OpenLogs(options_, Events(), give_up_));
  switch (options_.role) {
    case Role::kAll: RETURN_IF_ERROR(OpenLocal()); break;
    case Role::kShard: RETURN_IF_ERROR(OpenShard()); break;
    case Role::kFrontEnd: RETURN_IF_ERROR(OpenRemote()); break;
  }
  shards_ = deployment_->shards();
  ReserveFiles();
  front_end_.Serve(deployment_.get());
  return absl::OkStatus();
}

void Server::ReserveFiles() const {
  const size_t shards = shards_;
  const size_t stores = options_.role == Role::kFrontEnd ? 0 : options_.role == Role::kShard ? 1 : shards;
  const size_t files = stores * limits::kDescriptorsOfShard + limits::kOtherDescriptors;
  if (ReserveDescriptors(files)) return;
  log_->Write(LogLevel::kWarning, "server",
              "may open few files: its stores may want more than half of them, and connections have the other half",
              {{"wanted", static_cast<int64_t>(files)}, {"connections", static_cast<int64_t>(MostSockets())}});
}

EventSink Server::Events() {
  return [this](std::string_view event, std::string_view detail) {
    OnEvent(std::string(event), std::string(detail));
  };
}

DeploymentOptions Server::LocalOptions() {
  DeploymentOptions options;
  options.data_dir = options_.data_dir;
  options.shards = ShardsOf(options_);
  options.search_threads = options_.search_threads;
  options.ram_limit_bytes = options_.ram_limit_bytes;
  options.disk_reserve_bytes = options_.disk_reserve_bytes;
  options.answer_cache_bytes = options_.answer_cache_bytes;
  options.accept_truncated_log = options_.accept_truncated_log;
  options.backup_dir = options_.backup_dir;
  options.erase_after_ms = static_cast<int64_t>(options_.erase_after_seconds) * 1000;
  options.events = Events();
  return options;
}

absl::StatusOr<std::shared_ptr<const ChannelSecurity>> Server::ShardSecurity() const {
  ChannelSecurityOptions options;
  options.files = options_.shard_tls;
  if (!options.files.ca.empty() && options.files.certificate.empty()) {
    options.files.certificate = options_.tls.certificate;
    options.files.key = options_.tls.key;
  }
  if (!options_.shard_token_file.empty()) {
    ASSIGN_OR_RETURN(options.token, TokenSource::OfFile(options_.shard_token_file));
  }
  options.insecure_token = options_.insecure_shard_token;
  return ChannelSecurity::New(std::move(options));
}

void Server::WarnOfFiles() const {
  for (const TlsFiles& files : {options_.tls, options_.shard_tls}) {
    for (const std::string& warning : WarningsOf(files, absl::Now())) {
      log_->Write(LogLevel::kWarning, "server", warning);
    }
  }
}

void Server::WarnOfStrangers() const {
  const auto beyond = [](const std::string& address) { return !StaysOnMachine(address); };
  const bool asks = AdminIsEncrypted(options_) && !(options_.tokens.empty() && options_.tls.ca.empty());
  if (options_.admin_listen != "off" && beyond(options_.admin_listen) && !asks) {
    log_->Write(LogLevel::kWarning, "server",
                "the admin address is beyond this machine: who reaches it reads metrics and options, and is not asked");
  }
  if (options_.insecure_shard_token) {
    log_->Write(LogLevel::kWarning, "server",
                "shows its token to shards without TLS: who is on the way may take it, and do everything on shards");
  }
  if (LogIsInTheClear(options_)) {
    log_->Write(LogLevel::kWarning, "server",
                "speaks to brokers of --log beyond this machine without TLS: who is on the way reads all writes");
  }
  if (std::none_of(options_.listen.begin(), options_.listen.end(), beyond)) return;
  const bool open = options_.tokens.empty() && options_.tls.ca.empty();
  if (!open && !options_.tls.empty()) return;
  log_->Write(LogLevel::kWarning, "server",
              open ? "listens beyond this machine without --tokens and --tls-client-ca: who reaches it may do all"
                   : "listens beyond this machine without TLS: who is on the way reads and changes everything");
}

void Server::Reload() {
  const absl::StatusOr<size_t> lines = access_->Reload();
  if (!lines.ok()) {
    log_->Write(LogLevel::kError, "server", "the token file was not taken; what it said before holds",
                {{"error", std::string(lines.status().message())}});
  } else if (!options_.tokens.empty()) {
    log_->Write(LogLevel::kInfo, "server", "took the token file", {{"lines", static_cast<int64_t>(*lines)}});
  }
  for (const TlsFiles& files : {options_.tls, options_.shard_tls}) {
    const absl::Status status = CheckTlsFiles(files);
    if (status.ok()) continue;
    log_->Write(LogLevel::kError, "server", "the TLS files cannot be used: what was read before stays in use",
                {{"error", std::string(status.message())}});
  }
  WarnOfFiles();
}

absl::Status Server::OpenLocal() {
  ASSIGN_OR_RETURN(deployment_, LocalDeployment::Open(LocalOptions()));
  return absl::OkStatus();
}

absl::Status Server::OpenRemote() {
  RemoteDeploymentOptions options;
  for (const std::string& shard : options_.shard_addresses) options.shards.push_back(ReplicasOf(shard));
  for (uint32_t shard = 0; logs_ != nullptr && shard < options.shards.size(); ++shard) {
    options.logs.push_back(logs_->Open(shard));
  }
  options.search_threads = options_.search_threads;
  options.events = Events();
  options.give_up = give_up_;
  ASSIGN_OR_RETURN(options.security, ShardSecurity());
  ASSIGN_OR_RETURN(auto opened, RemoteDeployment::Open(std::move(options)));
  remote_ = opened.get();
  deployment_ = std::move(opened);
  return absl::OkStatus();
}

void Server::OnEvent(const std::string& event, const std::string& detail) {
  // A file of the index that was made anew was damaged or gone.
  if (event == "index_codebook_rebuilt") metrics_.IndexRebuilt("codebook");
  if (event == "index_segment_rebuilt") metrics_.IndexRebuilt("segment");
  if (event == "index_build_failed") metrics_.MaintenanceFailed("index_build");
  if (event == "expiry_failed") metrics_.MaintenanceFailed("expiry");
  if (event == "backup_failed") metrics_.MaintenanceFailed("backup");
  if (event == "erasure_failed") metrics_.MaintenanceFailed("erasure");
  // A front end that cannot tell what names mean refuses everything: balancers are to take another. A shard goes on.
  if (options_.role == Role::kFrontEnd && (event == "names_lost" || event == "catalogue_found")) {
    names_lost_ = event == "names_lost";
    TellHealth();
  }
  // What this replica lacks from now on others have (CheckApplies, server/hosted_shard.h).
  if (event == "log_failed") {
    log_failed_ = true;
    TellHealth();
  }
  log_->Write(IsTrouble(event) ? LogLevel::kWarning : LogLevel::kInfo, "engine", event, {{"detail", detail}});
}

std::string Server::Config() const {
  ServerOptions options = options_;
  if (shards_ != 0) options.shards = shards_;
  return OptionsJson(options);
}

void Server::RemovePortFiles() const {
  for (const std::string& path : {options_.port_file, options_.admin_port_file}) {
    if (!path.empty()) unlink(path.c_str());
  }
}

absl::Status Server::WritePortFiles() {
  port_files_written_ = true;
  RETURN_IF_ERROR(WritePortFile(options_.admin_port_file, admin_port()));
  return WritePortFile(options_.port_file, port_);  // last: who waits for it finds the other
}

void Server::SetServing(bool serving) {
  serving_ = serving;
  TellHealth();
}

void Server::TellHealth() {
  MutexLock lock(&health_mutex_);
  const bool serving = serving_ && !names_lost_ && !log_failed_;
  ready_.store(serving, std::memory_order_release);
  grpc::HealthCheckServiceInterface* health = grpc_ == nullptr ? nullptr : grpc_->GetHealthCheckService();
  if (health == nullptr) return;
  if (options_.role == Role::kShard) {
    for (const char* service : kShardServices) health->SetServingStatus(service, serving);
  } else {
    for (const char* service : kServices) health->SetServingStatus(service, serving);
  }
  health->SetServingStatus(serving);
}

std::string Server::ExposeMetrics() const {
  MetricsState state;
  state.serving = ready_.load(std::memory_order_acquire);
  state.refused_connections = RefusedConnections();
  if (!options_.tls.empty()) state.certificate_end = EndOf(options_.tls.certificate);
  if (options_.role != Role::kFrontEnd) {
    state.ram_limit_bytes = options_.ram_limit_bytes;
    state.data_dir = options_.data_dir;
    state.disk_reserve_bytes = options_.disk_reserve_bytes;
  }
  // A replica that replays its log before it serves tells how far it is.
  const LocalDeployment* const shard = local_.load(std::memory_order_acquire);
  if (shard != nullptr && shard->log_state().logged) {
    const LogState log = shard->log_state();
    const LogOffset applied = std::min(log.seen_end, OffsetAfter(log.handled));
    state.log = LogMetrics{log.handled, log.seen_end - applied, log.lost, log.refused || !log.status.ok()};
    if (names_ != nullptr) {
      const CatalogueApplier& names = names_->teller->applier();
      state.log->lost = log.lost || names.lost();
      state.log->failed = state.log->failed || !names.status().ok();
    }
  }
  const absl::StatusOr<Deployment*> deployment = front_end_.deployment();
  if (!deployment.ok()) return metrics_.Expose(state);
  state.queued_calls = front_end_.queued_calls();
  if (logs_ != nullptr) {
    if (!state.log.has_value()) state.log.emplace();
    state.log->failed = state.log->failed || !logs_->status().ok();
  }
  state.held_answer_bytes = front_end_.held_answers().bytes();
  if (watch_ != nullptr) state.clock_ahead_seconds = static_cast<double>(watch_->clock_ahead_ms()) / 1000;
  if (remote_ == nullptr) {
    state.deployment = (*deployment)->Statistics();
  } else {
    // What shards have they tell themselves: a front end that told it again would have it counted twice.
    const FrontEndStatistics own = remote_->Own();
    state.front_end = true;
    state.deployment.emplace();
    state.deployment->queued_searches = own.queued_merges;
    state.deployment->queued_write_bytes = own.write_bytes;
    state.deployment->memories.benefit_tokens = own.benefit_tokens;
    state.deployment->memories.benefit_nats = own.benefit_nats;
    state.shard_queries = own.queries;
    state.held_query_bytes = own.query_bytes;
    state.hedged_calls = own.hedged;
    state.hedges_won = own.hedges_won;
    state.clock_ahead_seconds = static_cast<double>(own.clock_ahead_ms) / 1000;
  }
  return metrics_.Expose(state);
}

void Server::Drain() {
  if (drained_) return;
  drained_ = true;
  SetServing(false);
  if (port_files_written_) RemovePortFiles();
  if (grpc_ != nullptr) {
    log_->Write(LogLevel::kInfo, "server", "draining");
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(options_.drain_delay));
    front_end_.StartDraining();
    // gRPC answers CANCELLED to what reaches a server that has begun to shut down; ours is UNAVAILABLE, which clients
    // take elsewhere. Busy clients learn it in this time.
    std::this_thread::sleep_for(std::chrono::milliseconds(limits::kDrainSettleMs));
    // Calls that wait for a shard would go on waiting after they were cancelled.
    std::promise<void> ended;
    std::thread giving_up([this, ending = ended.get_future()] {
      const bool late = ending.wait_for(std::chrono::seconds(limits::kDrainSeconds)) == std::future_status::timeout;
      if (late && remote_ != nullptr) remote_->GiveUp();
    });
    // Always with a deadline: a stream that its client leaves open would block for ever.
    grpc_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(limits::kDrainSeconds));
    grpc_->Wait();
    ended.set_value();
    giving_up.join();
  }
  admin_.reset();
  watch_.reset();
  feed_.reset();
  names_.reset();
  deployment_.reset();
  name_logs_.reset();
  logs_.reset();
  log_->Write(LogLevel::kInfo, "server", "stopped");
}

}  // namespace mneme
