#ifndef LOCKSTEP_WORKER_COMM_PROCESSOR_COUNT_H_
#define LOCKSTEP_WORKER_COMM_PROCESSOR_COUNT_H_

namespace lockstep::worker {

// Processors that this process may run on: its affinity mask, cut by the control group's CPU quota
// where there is one. At least 1.
int NumUsableProcessors();

}  // namespace lockstep::worker

#endif  // LOCKSTEP_WORKER_COMM_PROCESSOR_COUNT_H_
