// The loops of the load generator: many calls in flight from one thread, or one stream.
#ifndef MNEME_TESTS_BENCH_LOAD_LOOP_H_
#define MNEME_TESTS_BENCH_LOAD_LOOP_H_

#include <memory>

#include "nlohmann/json.hpp"
#include "tests/bench/load_options.h"
#include "tests/bench/load_requests.h"

namespace mneme::bench {

// Each runs the load to its end and tells what it measured; a connection that cannot be made ends the program.
// Unary calls: options.clients connections with options.in_flight calls each, all from this thread.
nlohmann::json RunQueries(const LoadOptions& options, QueryLoad& load);
nlohmann::json RunInserts(const LoadOptions& options, const InsertLoad& load);
// Calls of AdminService.Ping, which does nothing: what a call costs.
nlohmann::json RunPings(const LoadOptions& options);

// One QueryStream, one step after another: the decode loop of a model. With options.append each step teaches its keys
// and options.values, so `load` must be that of the same arrays.
nlohmann::json RunQueryStream(const LoadOptions& options, QueryLoad& load);
// One InsertStream as fast as the server's window lets it.
nlohmann::json RunInsertStream(const LoadOptions& options, const InsertLoad& load);

}  // namespace mneme::bench

#endif  // MNEME_TESTS_BENCH_LOAD_LOOP_H_
