// ShowCluster and ChangeReplicas.
#ifndef MNEME_SERVER_CLUSTER_HANDLERS_H_
#define MNEME_SERVER_CLUSTER_HANDLERS_H_

#include "mneme/v1/admin.pb.h"
#include "server/progress_stream.h"

namespace mneme {

absl::Status HandleShowCluster(const CallContext& call, const v1::ShowClusterRequest& request,
                               const Tell<v1::ShowClusterResponse>& tell);
absl::Status HandleChangeReplicas(const CallContext& call, const v1::ChangeReplicasRequest& request,
                                  const Tell<v1::ChangeReplicasResponse>& tell);

}  // namespace mneme

#endif  // MNEME_SERVER_CLUSTER_HANDLERS_H_
