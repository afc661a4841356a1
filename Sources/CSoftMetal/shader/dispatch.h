// One dispatch of a compiled shader.
#ifndef SOFTMETAL_SHADER_DISPATCH_H
#define SOFTMETAL_SHADER_DISPATCH_H

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "context.h"

struct sm_shader {
  void *handle;
  softmetal::Module *module;
};

namespace softmetal {

class CheckedDispatch;

class Dispatch {
 public:
  Dispatch(const Module &module, const sm_dispatch &dispatch, const sm_shader_options &options);
  ~Dispatch();

  /// Empty if all is well.
  std::string Run();
  const sm_shader_stats &stats() const { return stats_; }

  const Module &module() const { return module_; }
  const sm_dispatch &dispatch() const { return dispatch_; }
  const sm_shader_options &options() const { return options_; }
  Checker *checker() const;
  uint32_t threads() const { return threads_; }  ///< of a full threadgroup
  double deadline() const { return deadline_; }  ///< as sm_now has it; 0 if there is none

  /// Fills in where buffers and threadgroup memory are, for the worker with this arena.
  void Bind(char *arena, Threadgroup &group) const;
  /// Fills a threadgroup's memory with NaN, so that it cannot pass for zero.
  void Poison(const Threadgroup &group) const;

 private:
  std::string Refusal();
  void Work();
  uint64_t Claim(uint64_t &begin);
  /// Counts if no lower threadgroup has failed.
  void Fail(uint64_t threadgroup, uint32_t kind, std::string text);
  /// Which threadgroup comes as the n-th.
  uint64_t Order(uint64_t n) const;
  uint32_t Kind(const Outcome &outcome, const Context &context) const;
  std::string Describe(const Outcome &outcome, const Context &context) const;
  std::string DescribeAddress(const Outcome &outcome, const Context &context) const;

  const Module &module_;
  const sm_dispatch &dispatch_;
  const sm_shader_options options_;
  std::unique_ptr<CheckedDispatch> checked_;
  double deadline_ = 0;
  // Threadgroup memory: the kernel's own variables, then what the dispatch adds.
  uint64_t arena_bytes_ = 0, arena_offsets_[SM_THREADGROUP_SLOTS] = {};
  uint32_t threads_ = 0;
  uint64_t total_ = 0, shares_ = 1, stride_ = 1;

  std::atomic<uint64_t> next_{0};
  std::atomic<uint32_t> served_{0};  // workers that had a context
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // guards what follows
  std::string error_;
  uint32_t error_kind_ = SM_FAILURE_OTHER;
  uint64_t error_threadgroup_ = 0;
  sm_shader_stats stats_{};
};

}  // namespace softmetal
#endif
