// What a checked dispatch has besides: copies of the buffers far apart, and the checker.
#ifndef SOFTMETAL_SHADER_CHECKED_DISPATCH_H
#define SOFTMETAL_SHADER_CHECKED_DISPATCH_H

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../checks/checks.h"
#include "dispatch.h"

namespace softmetal {

class CheckedDispatch {
 public:
  /// Null if memory is short.
  static std::unique_ptr<CheckedDispatch> Create(const Dispatch &dispatch);

  Checker *checker() { return &*checker_; }
  void Bind(Threadgroup &group) const;
  void Poison() const;
  /// Writes results back. The findings, if there are any.
  std::string Finish();

 private:
  CheckedDispatch() = default;

  CheckedMemory memory_;
  CheckedMemory::Buffer buffers_[kSlots];
  std::vector<ThreadgroupRegion> regions_;
  std::optional<Checker> checker_;
};

}  // namespace softmetal
#endif
