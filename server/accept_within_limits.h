// How many connections a process accepts: as many as leave its store the descriptors that it needs.
//
// gRPC 1.51 stops listening, for ever, once accept4() fails for want of descriptors (CVE-2023-4785), and accepts
// connections until it does. The program's own accept4(), which the libraries that it is linked with call, closes
// connections that come when the descriptors that they may have are taken, and never fails for want of one.
#ifndef MNEME_SERVER_ACCEPT_WITHIN_LIMITS_H_
#define MNEME_SERVER_ACCEPT_WITHIN_LIMITS_H_

namespace mneme {

// The first descriptor that no connection may have; descriptors are given from the lowest on, so those below are taken
// when it is reached. Follows the soft limit of the process.
int FirstReservedDescriptor();

// Lets this process have as many descriptors as it may: the 1,024 that a shell gives are for programs that use select().
void RaiseDescriptorLimit();

}  // namespace mneme

#endif  // MNEME_SERVER_ACCEPT_WITHIN_LIMITS_H_
