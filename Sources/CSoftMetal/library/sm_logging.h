// os_log. As in Metal without `enableLogging`, what is logged goes nowhere; its arguments are still computed.
#pragma once

namespace metal {

enum os_log_type {
  os_log_type_debug,
  os_log_type_info,
  os_log_type_default,
  os_log_type_error,
  os_log_type_fault,
};
constexpr os_log_type OS_LOG_TYPE_DEBUG = os_log_type_debug, OS_LOG_TYPE_INFO = os_log_type_info,
                      OS_LOG_TYPE_DEFAULT = os_log_type_default, OS_LOG_TYPE_ERROR = os_log_type_error,
                      OS_LOG_TYPE_FAULT = os_log_type_fault;

struct os_log {
  os_log() = default;
  constexpr os_log(const char *, const char *) {}
#define SM_LOG(name)       \
  template <typename... A> \
  SM_INLINE constexpr void name(const char *, const A &...) const {}
  SM_LOG(log)
  SM_LOG(log_debug)
  SM_LOG(log_info)
  SM_LOG(log_error)
  SM_LOG(log_fault)
#undef SM_LOG
  template <typename... A>
  SM_INLINE constexpr void log_with_type(os_log_type, const char *, const A &...) const {}
};
constexpr os_log os_log_default;

}  // namespace metal
