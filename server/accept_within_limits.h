// How many connections a process accepts: as many as leave its store the descriptors that it needs.
//
// gRPC 1.51 stops listening, for ever, once accept4() fails otherwise than for want of a connection (CVE-2023-4785: for
// want of a descriptor), and accepts connections until it does. The program's own accept4(), which the libraries that
// it is linked with call, closes connections beyond those that the process may have, and fails for no reason that goes
// by itself. A connection that was not taken for want of a descriptor waits for the next one to come.
#ifndef MNEME_SERVER_ACCEPT_WITHIN_LIMITS_H_
#define MNEME_SERVER_ACCEPT_WITHIN_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace mneme {

// Lets this process have as many descriptors as it may: the 1,024 that a shell gives are for programs that use
// select().
void RaiseDescriptorLimit();

// Keeps so many descriptors for what is no connection, from now on; never more than half of what the process may have.
// False: it is half, and less than that.
bool ReserveDescriptors(size_t files);

// How many sockets of any kind the process may have by now, by its present limit.
size_t MostSockets();

// Connections that were closed at once because there were as many.
uint64_t RefusedConnections();

}  // namespace mneme

#endif  // MNEME_SERVER_ACCEPT_WITHIN_LIMITS_H_
