// Images made smaller by area average.

#include "native.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace {

// For each pixel of a line of `result` pixels, the first of `source` pixels that it covers, and how much it covers of
// that and those behind it, as many for each pixel. In lowest terms, as then the sums at the usual sizes are below 2^24,
// and so exact in float.
struct Line {
    std::vector<int> first;
    std::vector<float> weights;
    int covered;
    float whole;

    Line(int source, int result) {
        const int common = std::gcd(source, result);
        const int64_t wide = source / common, narrow = result / common;  // of a result, of a source pixel
        whole = float(wide);
        covered = int((wide + 2 * narrow - 2) / narrow);
        for (int i = 0; i < result; ++i) {
            const int64_t begin = i * wide, end = begin + wide;
            first.push_back(int(begin / narrow));
            for (int64_t j = first.back(); j < first.back() + covered; ++j)
                weights.push_back(float(std::max<int64_t>(
                    0, std::min(end, (j + 1) * narrow) - std::max(begin, j * narrow))));
        }
    }
};

typedef float Four __attribute__((vector_size(16)));

// The weighted sum of rows of `length` numbers.
INLINE void add_rows(const uint8_t* rows, const float* weights, int count, int length, float* __restrict sums) {
    for (int y = 0; y < count && weights[y] > 0; ++y, rows += length) {
        const float weight = weights[y];
        if (y == 0)
            for (int i = 0; i < length; ++i) sums[i] = weight * float(rows[i]);
        else
            for (int i = 0; i < length; ++i) sums[i] += weight * float(rows[i]);
    }
}

}  // namespace

// `image` uint8 (height, width, 3) -> `small` uint8 (rows, columns, 3), not larger: means, rounded.
extern "C" VECTORISED void area_average(const uint8_t* image, int height, int width, uint8_t* small, int rows,
                                        int columns) {
    const Line down(height, rows), across(width, columns);
    const float scale = 1 / (down.whole * across.whole);
    const int length = 3 * width;
    // Behind the last pixel, what is read with weight 0; each is read and written as four numbers.
    std::vector<float> sums(size_t(length) + 3 * size_t(across.covered) + 1), means(size_t(3) * size_t(columns) + 1);
    for (int row = 0; row < rows; ++row, small += 3 * columns) {
        add_rows(image + int64_t(down.first[size_t(row)]) * length, &down.weights[size_t(row) * size_t(down.covered)],
                 down.covered, length, sums.data());
        const float* weight = across.weights.data();
        for (int column = 0; column < columns; ++column) {
            Four sum = {};
            const float* from = &sums[size_t(3) * size_t(across.first[size_t(column)])];
            for (int x = 0; x < across.covered; ++x, from += 3) {
                Four pixel;
                std::memcpy(&pixel, from, sizeof pixel);
                sum += *weight++ * pixel;
            }
            std::memcpy(&means[size_t(3) * size_t(column)], &sum, sizeof sum);
        }
        for (int i = 0; i < 3 * columns; ++i) small[i] = uint8_t(int(means[size_t(i)] * scale + 0.5f));
    }
}
