// How a replica of shard 0 comes to tell names: opened before its shard, in the same directory (docs/architecture.md,
// "Names over replicas").
#ifndef MNEME_SERVER_OPEN_TELLER_H_
#define MNEME_SERVER_OPEN_TELLER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/catalogue_teller.h"
#include "engine/commands.h"
#include "engine/shard_log.h"
#include "engine/watcher_clocks.h"
#include "storage/data_directory.h"
#include "storage/rocksdb_entry_store.h"

namespace mneme {

class ChannelSecurity;

struct OpenTellerOptions {
  std::string data_dir = {};
  uint32_t shards = 0;
  std::vector<std::string> addresses = {};  // of all replicas of shard 0, by their numbers, and
  uint32_t replica = 0;                     // which of them this one is
  std::shared_ptr<const ChannelSecurity> security = {};  // of the connections to them; may be null
  std::shared_ptr<ShardLog> log = {};                    // of the catalogue
  std::shared_ptr<WatcherClocks> clocks = {};
  // May be empty. "names_awaited" while what is needed to begin is not there; "names_taken" when the catalogue of
  // another replica was; "replica_not_listed" when this one tells no names as yet; and those of CatalogueTeller and
  // RemoteTellers.
  EventSink events = {};
  std::function<bool()> give_up = [] { return false; };
};

// In the order in which they are made.
struct OpenedTeller {
  std::shared_ptr<DataDirectory> directory;
  std::unique_ptr<StoreResources> resources;
  std::unique_ptr<CatalogueTeller> teller;
  bool reached_log = false;  // the log of names, by then
};

// Opens the directory, which gets the number of the deployment: the one that it had, or that the first record of the
// log has, or that this process appends as the first. Where there is a catalogue it waits for nobody, but for a log
// that is reached, some seconds. Where there is none, or that of a backup, it waits until all is applied that the log
// has; and where the log does not reach back to what is there, until another replica has given its own. Where the log
// is reached it says who tells names, as `addresses` do unless an operator has said so.
// CANCELLED when `give_up` says so; FAILED_PRECONDITION, OUT_OF_RANGE and DATA_LOSS when directory and log do not
// belong together; NOT_FOUND and PERMISSION_DENIED when the brokers have said so for a while.
absl::StatusOr<OpenedTeller> OpenTeller(const OpenTellerOptions& options);

// Blocks until the names have all that their log had when this was called.
absl::Status AwaitNames(const CatalogueTeller& teller, const OpenTellerOptions& options);

}  // namespace mneme

#endif  // MNEME_SERVER_OPEN_TELLER_H_
