#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "history.h"
#include "source_lines.h"

using softmetal::Checker;
using softmetal::CheckerConfig;
using softmetal::CheckHistory;

struct sm_checker {
  CheckerConfig config;
  CheckHistory *history = nullptr;
  std::unique_ptr<Checker> checker;
  std::string report;

  Checker &Running() {
    if (checker == nullptr) checker = std::make_unique<Checker>(config, history);
    return *checker;
  }
};

sm_check_history *sm_check_history_create(void) { return new sm_check_history; }
void sm_check_history_destroy(sm_check_history *history) { delete history; }
void sm_check_history_barrier(sm_check_history *history) { history->history.Barrier(); }
void sm_check_history_barrier_range(sm_check_history *history, const void *data, uint64_t bytes) {
  history->history.Barrier(data, bytes);
}

sm_checker *sm_checker_create(const char *kernel, uint32_t threads, uint32_t lockstep, uint64_t shadow_limit,
                              sm_check_history *history) {
  auto *self = new sm_checker;
  self->config.kernel = kernel;
  self->config.threads[0] = threads;
  self->config.lockstep = lockstep != 0;
  if (shadow_limit != 0) self->config.shadow_limit = shadow_limit;
  self->config.line_of = [](const void *pc) {
    return std::make_pair(std::string("test"), static_cast<uint32_t>(reinterpret_cast<uintptr_t>(pc)));
  };
  if (history != nullptr) self->history = &history->history;
  return self;
}

void sm_checker_destroy(sm_checker *checker) { delete checker; }

void sm_checker_add_buffer(sm_checker *checker, uint32_t slot, void *data, uint64_t bytes, uint8_t *initialised) {
  softmetal::CheckedBuffer buffer;
  buffer.slot = slot;
  buffer.base = data;
  buffer.bytes = bytes;
  buffer.initialised = initialised;
  checker->config.buffers.push_back(buffer);
}

void sm_checker_add_threadgroup(sm_checker *checker, int32_t slot, void *data, uint64_t bytes) {
  softmetal::ThreadgroupRegion region;
  region.slot = slot;
  region.base = data;
  region.bytes = bytes;
  checker->config.threadgroup.push_back(region);
}

void sm_checker_start_threadgroup(sm_checker *checker, uint32_t x, uint32_t y, uint32_t z) {
  checker->Running().OnThreadgroupStart(x, y, z);
}

void sm_checker_end_threadgroup(sm_checker *checker) { checker->Running().OnThreadgroupEnd(); }

static const void *Line(uint32_t line) { return reinterpret_cast<const void *>(static_cast<uintptr_t>(line)); }

uint32_t sm_checker_access(sm_checker *checker, uint32_t lane, const void *data, uint64_t bytes, uint32_t kind,
                           uint32_t line) {
  return checker->Running().OnAccess(lane, data, bytes, kind, Line(line));
}

void sm_checker_misaligned(sm_checker *checker, uint32_t lane, const void *data, uint64_t alignment, uint32_t line) {
  checker->Running().OnMisaligned(lane, data, alignment, Line(line));
}

void sm_checker_fence(sm_checker *checker, uint32_t lane, uint32_t flags, uint32_t acquire, uint32_t release) {
  checker->Running().OnFence(lane, flags, acquire != 0, release != 0);
}

void sm_checker_simdgroup_barrier(sm_checker *checker, uint32_t simdgroup, uint32_t flags) {
  checker->Running().OnSimdgroupBarrier(simdgroup, flags);
}

void sm_checker_threadgroup_barrier(sm_checker *checker, uint32_t flags) {
  checker->Running().OnThreadgroupBarrier(flags);
}

void sm_checker_collective(sm_checker *checker, uint32_t simdgroup) { checker->Running().OnLockstep(simdgroup); }

const char *sm_checker_report(sm_checker *checker) {
  checker->report = checker->Running().Report();
  return checker->report.c_str();
}

uint64_t sm_source_lines(const uint8_t *object, uint64_t bytes, uint64_t address, char *text, uint64_t text_bytes) {
  std::string all;
  for (const softmetal::checks::SourceLine &line : softmetal::checks::SourceLines(object, bytes).Frames(address)) {
    if (!all.empty()) all += "\n";
    all += line.Text();
  }
  if (text_bytes != 0) {
    uint64_t count = all.size() < text_bytes ? all.size() : text_bytes - 1;
    std::memcpy(text, all.data(), count);
    text[count] = 0;
  }
  return all.size() + 1;
}
