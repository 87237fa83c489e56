// MemoryService, WorkingMemoryService and AdminService as gRPC sees them: every method takes the bytes as they came
// (see raw_message.h) and hands them to its handler.
#ifndef MNEME_SERVER_SERVICES_H_
#define MNEME_SERVER_SERVICES_H_

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "server/front_end.h"

namespace mneme {

// `front_end` must outlive the service and its calls.
std::unique_ptr<grpc::Service> MakeMemoryService(FrontEnd& front_end);
std::unique_ptr<grpc::Service> MakeWorkingMemoryService(FrontEnd& front_end);
std::unique_ptr<grpc::Service> MakeAdminService(FrontEnd& front_end);

// Of a process of role `shard`, for the others of its deployment.
std::unique_ptr<grpc::Service> MakeShardService(FrontEnd& front_end);
std::unique_ptr<grpc::Service> MakeCatalogueService(FrontEnd& front_end);

}  // namespace mneme

#endif  // MNEME_SERVER_SERVICES_H_
