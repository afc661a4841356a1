// Geometric functions.
#pragma once

namespace metal {

template <typename A, typename B, typename V = sm_vector_of<A, B>>
SM_STATIC sm_element<V> dot(const A &a, const B &b) {
  const V x(a), y(b);
  sm_element<V> r = x.s[0] * y.s[0];
  for (int i = 1; i < sm_count<V>; ++i) r += x.s[i] * y.s[i];
  return r;
}
template <typename A, typename B, typename V = sm_vector_of<A, B>, typename = enable_if_t<sm_count<V> == 3>>
SM_STATIC V cross(const A &a, const B &b) {
  const V x(a), y(b);
  return V(x.y * y.z - x.z * y.y, x.z * y.x - x.x * y.z, x.x * y.y - x.y * y.x);
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC sm_element<V> length_squared(const A &a) {
  return dot(a, a);
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC sm_element<V> length(const A &a) {
  return sqrt(dot(a, a));
}
template <typename A, typename B, typename V = sm_vector_of<A, B>>
SM_STATIC sm_element<V> distance(const A &a, const B &b) {
  return length(V(a) - V(b));
}
template <typename A, typename B, typename V = sm_vector_of<A, B>>
SM_STATIC sm_element<V> distance_squared(const A &a, const B &b) {
  return length_squared(V(a) - V(b));
}
template <typename A, typename V = sm_vector_of<A, A>>
SM_STATIC V normalize(const A &a) {
  return V(a) * rsqrt(dot(a, a));
}
template <typename A, typename B, typename V = sm_vector_of<A, B>>
SM_STATIC V reflect(const A &incident, const B &normal) {
  return V(incident) - V(normal) * (sm_element<V>(2) * dot(normal, incident));
}
template <typename A, typename B, typename V = sm_vector_of<A, B>>
SM_STATIC V refract(const A &incident, const B &normal, sm_element<V> ratio) {
  typedef sm_element<V> T;
  const T cosine = dot(normal, incident), k = T(1) - ratio * ratio * (T(1) - cosine * cosine);
  return k < T(0) ? V(T(0)) : V(incident) * ratio - V(normal) * (ratio * cosine + sqrt(k));
}
template <typename A, typename B, typename C, typename V = sm_vector_of<A, B>>
SM_STATIC V faceforward(const A &normal, const B &incident, const C &reference) {
  return dot(reference, incident) < sm_element<V>(0) ? V(normal) : -V(normal);
}

}  // namespace metal
