// Loading a compiled shader, and running it.
#include <dlfcn.h>
#include <math.h>

#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>

#include "context.h"
#include "dispatch.h"
#include "softmetal_shader.h"

namespace softmetal {
namespace {

const Host host = {Context::Wait,
                   Context::Access,
                   Context::Misaligned,
                   Context::Index,
                   Context::Fence,
                   memcpy,
                   memmove,
                   memset,
                   memcmp,
                   strlen,
#define SM_FUNCTION(name) ::name,
                   SM_LIBM(SM_FUNCTION, SM_FUNCTION)
#undef SM_FUNCTION
                       ::fmaf,
                   ::ldexpf,
                   ::frexpf};

void Say(char *error, uint64_t bytes, const char *text) {
  if (bytes > 0) std::snprintf(error, bytes, "%s", text);
}

}  // namespace
}  // namespace softmetal

using softmetal::Module;

const char *sm_shader_image() {
  Dl_info info;
  return dladdr(reinterpret_cast<void *>(sm_shader_image), &info) != 0 ? info.dli_fname : nullptr;
}

sm_shader *sm_shader_load(const char *path, char *error, uint64_t error_bytes) {
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char *reason = dlerror();
    softmetal::Say(error, error_bytes, reason != nullptr ? reason : "dlopen failed");
    return nullptr;
  }
  auto *module = static_cast<Module *>(dlsym(handle, "softmetal_module"));
  const char *reason = module == nullptr                      ? "the file has no softmetal_module"
                       : module->abi != softmetal::kModuleABI ? "the file was made for another version of SoftMetal"
                                                              : nullptr;
  auto *shader = reason == nullptr ? new (std::nothrow) sm_shader{handle, module} : nullptr;
  if (shader == nullptr) {
    softmetal::Say(error, error_bytes, reason != nullptr ? reason : "out of memory");
    dlclose(handle);
    return nullptr;
  }
  module->host = &softmetal::host;
  return shader;
}

void sm_shader_unload(sm_shader *shader) {
  if (shader == nullptr) return;
  dlclose(shader->handle);
  delete shader;
}

uint32_t sm_shader_static_bytes(const sm_shader *shader) { return static_cast<uint32_t>(shader->module->static_bytes); }

uint32_t sm_shader_max_threads(const sm_shader *shader) { return shader->module->max_threads; }

const char *sm_shader_run(sm_shader *shader, const sm_dispatch *dispatch, const sm_shader_options *options,
                          sm_shader_stats *stats) {
  thread_local std::string text;
  try {
    softmetal::Dispatch run(*shader->module, *dispatch, *options);
    text = run.Run();
    if (stats != nullptr) *stats = run.stats();
    return text.empty() ? nullptr : text.c_str();
  } catch (const std::exception &) {
    return "out of memory";
  }
}
