// load_generator: queries or inserts against a running server, measured from the client's side, as one JSON object.
//
//   load_generator query --server unix:/run/mneme.sock --memory wiki --keys q.npy -k 1024 --nprobe 24 --batch 64
//   load_generator insert --server 127.0.0.1:7700 --memory wiki --keys k.npy --values v.npy --batch 256 --first-id 0
#include <CLI/CLI.hpp>

#include <cstdio>
#include <iostream>

#include "tests/bench/load_loop.h"
#include "tests/bench/measurement.h"

namespace mneme::bench {
namespace {

void AddCalls(CLI::App& verb, LoadOptions& options) {
  verb.add_option("--server", options.server, "HOST:PORT or unix:PATH")->required();
  verb.add_option("--memory", options.memory)->required();
  verb.add_option("--clients", options.clients, "Connections")->check(CLI::Range(1U, 1024U));
  verb.add_option("--in-flight", options.in_flight, "Requests in flight, of each client")->check(CLI::Range(1U, 1024U));
  verb.add_option("--seconds", options.seconds, "Counted time");
  verb.add_option("--warm-up", options.warm_up, "Seconds before it");
  verb.add_option("--server-pid", options.server_pid, "Tell the CPU of this process too");
}

void AddCommon(CLI::App& verb, LoadOptions& options) {
  AddCalls(verb, options);
  verb.add_option("--keys", options.keys, "FILE.npy, used in turn")->required();
  verb.add_option("--values", options.values, "FILE.npy of tokens");
  verb.add_option("--batch", options.batch, "Rows of a request")->check(CLI::Range(1U, 65'536U));
  verb.add_flag("--once", options.once, "Every key once instead");
  verb.add_option("--rate", options.rate, "Rows a second; 0: as many as are answered");
  verb.add_option("--partition", options.partition);
  verb.add_option("--bound-ms", options.bound_ms, "Tell the share of calls that ended within it");
  verb.add_option("--deadline-ms", options.deadline_ms, "Of each call");
  verb.add_flag("--stream", options.stream, "One stream instead of unary calls");
}

void AddQuery(CLI::App& app, LoadOptions& options) {
  CLI::App* verb = app.add_subcommand("query", "Ask");
  AddCommon(*verb, options);
  verb->add_option("-k", options.k);
  verb->add_flag("--exact", options.exact);
  verb->add_option("--recall", options.recall);
  verb->add_option("--nprobe", options.nprobe);
  verb->add_flag("--approximate-distances", options.approximate_distances);
  verb->add_option("--read-out", options.read_out)
      ->check(CLI::IsMember({"neighbours", "distribution", "targets", "own_distribution"}));
  verb->add_option("--temperature", options.temperature);
  verb->add_flag("--with-values", options.with_values);
  verb->add_flag("--append", options.append, "With --stream: each step teaches the keys of the last one");
  verb->add_option("--ids-out", options.ids_out, "FILE.npy for the ids found; with --once");
  verb->callback([&options] {
    QueryLoad load = Require(QueryLoad::New(options));
    const nlohmann::json report = options.stream ? RunQueryStream(options, load) : RunQueries(options, load);
    if (!options.ids_out.empty()) Require(load.WriteIds(options.ids_out));
    std::cout << report << std::endl;
  });
}

void AddInsert(CLI::App& app, LoadOptions& options) {
  CLI::App* verb = app.add_subcommand("insert", "Teach");
  AddCommon(*verb, options);
  verb->add_option("--durability", options.durability)->check(CLI::IsMember({"sync", "written"}));
  verb->add_option("--first-id", options.first_id);
  verb->add_flag("--server-ids", options.server_ids);
  verb->callback([&options] {
    const InsertLoad load = Require(InsertLoad::New(options));
    std::cout << (options.stream ? RunInsertStream(options, load) : RunInserts(options, load)) << std::endl;
  });
}

void AddPing(CLI::App& app, LoadOptions& options) {
  CLI::App* verb = app.add_subcommand("ping", "Call what does nothing");
  AddCalls(*verb, options);
  verb->callback([&options] {
    options.batch = 1;
    std::cout << RunPings(options) << std::endl;
  });
}

}  // namespace
}  // namespace mneme::bench

int main(int argc, char** argv) {
  CLI::App app("Load for mneme-server, measured from outside");
  app.require_subcommand(1);
  mneme::bench::LoadOptions options;
  mneme::bench::AddQuery(app, options);
  mneme::bench::AddInsert(app, options);
  mneme::bench::AddPing(app, options);
  CLI11_PARSE(app, argc, argv);
  return 0;
}
