// What the bench's shaders compute, as plain loops over rows and elements.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

template <typename T>
void Prefill(const T *q, const T *k, const T *v, T *o, int heads, int rows, int keys, int dim, float scale) {
  std::vector<float> query(dim), score(keys), sum(dim);
  for (int head = 0; head < heads; ++head, k += keys * dim, v += keys * dim) {
    for (int row = 0; row < rows; ++row, q += dim, o += dim) {
      std::copy_n(q, dim, query.begin());
      float top = -INFINITY;
      for (int key = 0; key < keys; ++key) {
        float product = 0;
        for (int d = 0; d < dim; ++d) product += query[d] * static_cast<float>(k[key * dim + d]);
        score[key] = product * scale;
        top = std::max(top, score[key]);
      }
      std::fill(sum.begin(), sum.end(), 0.0f);
      float total = 0;
      for (int key = 0; key < keys; ++key) {
        const float weight = std::exp(score[key] - top);
        total += weight;
        for (int d = 0; d < dim; ++d) sum[d] += weight * static_cast<float>(v[key * dim + d]);
      }
      for (int d = 0; d < dim; ++d) o[d] = static_cast<T>(sum[d] / total);
    }
  }
}

}  // namespace

extern "C" void prefill_f32(const float *q, const float *k, const float *v, float *o, int heads, int rows, int keys,
                            int dim, float scale) {
  Prefill(q, k, v, o, heads, rows, keys, dim, scale);
}

extern "C" void prefill_f16(const _Float16 *q, const _Float16 *k, const _Float16 *v, _Float16 *o, int heads, int rows,
                            int keys, int dim, float scale) {
  Prefill(q, k, v, o, heads, rows, keys, dim, scale);
}

extern "C" void decode(const float *q, const uint8_t *k, const float *k_factors, const uint8_t *v,
                       const float *v_factors, float *o, const float *table, int heads, int kv_heads, int keys, int dim,
                       float scale) {
  std::vector<float> score(keys);
  for (int head = 0; head < heads; ++head, q += dim, o += dim) {
    const int first = head / (heads / kv_heads) * keys;
    float top = -INFINITY;
    for (int key = 0; key < keys; ++key) {
      const uint8_t *codes = k + (first + key) * dim;
      float product = 0;
      for (int d = 0; d < dim; ++d) product += q[d] * table[codes[d]];
      score[key] = product * k_factors[first + key] * scale;
      top = std::max(top, score[key]);
    }
    std::fill_n(o, dim, 0.0f);
    float total = 0;
    for (int key = 0; key < keys; ++key) {
      const uint8_t *codes = v + (first + key) * dim;
      const float weight = std::exp(score[key] - top), factor = weight * v_factors[first + key];
      total += weight;
      for (int d = 0; d < dim; ++d) o[d] += factor * table[codes[d]];
    }
    for (int d = 0; d < dim; ++d) o[d] /= total;
  }
}
