// LoadOptions: what the load generator is asked to do.
#ifndef MNEME_TESTS_BENCH_LOAD_OPTIONS_H_
#define MNEME_TESTS_BENCH_LOAD_OPTIONS_H_

#include <cstdint>
#include <string>

namespace mneme::bench {

struct LoadOptions {
  std::string server;
  std::string memory;
  std::string keys;    // .npy [n x dimension]: queries, or keys to insert; used in turn
  std::string values;  // .npy of tokens: targets of queries, or values of entries
  uint32_t batch = 64;
  uint32_t clients = 1;    // connections
  uint32_t in_flight = 4;  // requests of each client
  double seconds = 2.0;
  double warm_up = 0.2;    // seconds before counting
  bool once = false;       // every key once instead of `seconds`
  int server_pid = 0;      // whose CPU is told too
  double rate = 0.0;       // rows a second over all clients; 0: as fast as they are answered
  bool stream = false;     // one QueryStream or InsertStream instead of unary calls
  uint64_t partition = 0;

  // Queries.
  uint32_t k = 10;
  bool exact = false;
  double recall = 0.0;
  uint32_t nprobe = 0;
  bool approximate_distances = false;
  // Or distribution, targets; own_distribution: neighbours, of which the client makes what `distribution` answers.
  std::string read_out = "neighbours";
  double temperature = 7.0;
  double deadline_ms = 0.0;  // of each call; 0: a minute
  double bound_ms = 0.0;     // report the share of calls that ended within it
  bool with_values = false;
  bool append = false;       // stream: each step appends what the last one taught
  std::string ids_out;       // .npy i64 [keys x k], -1 where fewer were found; needs `once`

  // Inserts.
  std::string durability = "sync";
  uint64_t first_id = 0;
  bool server_ids = false;
};

}  // namespace mneme::bench

#endif  // MNEME_TESTS_BENCH_LOAD_OPTIONS_H_
