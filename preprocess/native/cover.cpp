// Runs and the black band to the mask bits of a smaller image, by exact area, without the full-size mask.

#include "native.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Where the band begins and ends in each of its columns, from top to bottom.
class Band {
  public:
    // `band` uint8 (height, width) of 0 and 1.
    Band(const uint8_t* band, int height, int width) : first(size_t(width) + 1) {
        struct Edge {
            int x, y;
        };
        std::vector<Edge> found;
        const std::vector<uint8_t> nothing(size_t(width), 0);
        for (int y = 0; y <= height; ++y) {
            const uint8_t* above = y ? band + int64_t(y - 1) * width : nothing.data();
            const uint8_t* here = y < height ? band + int64_t(y) * width : nothing.data();
            for (int x = 0; x < width;) {
                if (x + 8 <= width && std::memcmp(above + x, here + x, 8) == 0) {
                    x += 8;
                    continue;
                }
                for (const int end = std::min(width, x + 8); x < end; ++x)
                    if (above[x] != here[x]) found.push_back({x, y});
            }
        }
        for (const Edge& edge : found) ++first[size_t(edge.x) + 1];
        for (size_t x = 1; x < first.size(); ++x) first[x] += first[x - 1];
        edges.resize(found.size());
        std::vector<int> next(first.begin(), first.end() - 1);
        for (const Edge& edge : found) edges[size_t(next[size_t(edge.x)]++)] = edge.y;
    }

    // Calls `visit(begin, end)` for each stretch of column `x` that is band.
    template <typename Visit>
    void stretches(int x, const Visit& visit) const {
        for (int i = first[size_t(x)]; i < first[size_t(x) + 1]; i += 2) visit(edges[size_t(i)], edges[size_t(i) + 1]);
    }

  private:
    std::vector<int> first, edges;
};

// A row of sums from the top down, and `bit` where they reach `half`; leaves zeros for the next class.
VECTORISED void set_where_reached(uint32_t* steps, uint32_t* sums, int count, uint32_t half, uint8_t bit,
                                  uint8_t* stored) {
    for (int i = 0; i < count; ++i) {
        sums[i] += steps[i];
        steps[i] = 0;
        stored[i] |= sums[i] >= half ? bit : uint8_t(0);
    }
}

// What vertical stretches of an image of (height, width) cover of the pixels of one of (rows, columns).
//
// A stretch is everything from its start downwards less everything from its end downwards. "Everything from here
// downwards" covers a part of one pixel of the result and all of those below: two steps, if one sums from the top. So a
// stretch costs a few steps however long it is, and the sums are made once for all of a class. Areas are whole numbers,
// in units that make a pixel of the result height * width; steps below zero wrap around, and the sums come back.
class Cover {
  public:
    Cover(int height, int width, int rows, int columns)
        : height(height), width(width), rows(rows), columns(columns), stride(size_t(columns) + 1),
          // One row and column more than the image: what lies there is not looked at.
          steps((size_t(rows) + 1) * stride), sums(stride), top(rows), west(columns) {}

    // From row `begin` to row `end` of column `x`.
    void add(int x, int begin, int end) {
        const int left = int(int64_t(x) * columns / width), offset = int(int64_t(x) * columns % width);
        const uint32_t first = uint32_t(std::min(width - offset, columns)), second = uint32_t(columns) - first;
        step(begin, left, first, second);
        if (end < height) step(end, left, 0 - first, 0 - second);
        west = std::min(west, left), east = std::max(east, left + 2);
    }

    // Adds `bit` to the pixels of `stored` that are covered by at least one half, and forgets what was added.
    void set(uint8_t bit, uint8_t* stored) {
        const uint32_t half = uint32_t((int64_t(height) * width + 1) / 2);
        const int count = std::min(east, columns) - west;
        std::fill(sums.begin(), sums.end(), 0);
        // Down to the last row: a stretch to the bottom of its column makes no step there.
        for (int row = top; row < rows; ++row)
            set_where_reached(&steps[size_t(row) * stride + size_t(west)], sums.data(), count, half, bit,
                              stored + size_t(row) * size_t(columns) + west);
        std::fill_n(&steps[size_t(rows) * stride], stride, 0);
        top = rows, west = columns, east = 0;
    }

  private:
    void step(int row, int left, uint32_t first, uint32_t second) {
        const int above = int(int64_t(row) * rows / height);
        const uint32_t rest = uint32_t(int64_t(row) * rows % height), part = uint32_t(height) - rest;
        uint32_t* at = &steps[size_t(above) * stride + size_t(left)];
        at[0] += part * first;
        at[1] += part * second;
        at[stride] += rest * first;
        at[stride + 1] += rest * second;
        top = std::min(top, above);
    }

    const int height, width, rows, columns;
    const size_t stride;
    std::vector<uint32_t> steps, sums;
    int top, west, east = 0;
};

}  // namespace

// The mask bits of one image: bit i of `stored`, uint8 (rows, columns) of zeros, where the runs of class i cover at
// least one half of a pixel outside the band, and `no_data` alone where the band does.
//
// `starts` and `ends` are the runs of all classes, one after the other, column by column on (height, width), both
// even; those of class i end at `counts[i]`. `band` is uint8 (height / 2, width / 2) of 0 and 1.
extern "C" void mask_bits(const int64_t* starts, const int64_t* ends, const int64_t* counts, int classes,
                          const uint8_t* band, int height, int width, uint8_t* stored, int rows, int columns,
                          uint8_t no_data) {
    const Band black(band, height / 2, width / 2);
    Cover cover(height, width, rows, columns);
    int64_t run = 0;
    for (int i = 0; i < classes; ++i) {
        for (; run < counts[i]; ++run) {
            for (int64_t place = starts[run], next; place < ends[run]; place = next) {
                const int64_t x = place / height;
                next = std::min(ends[run], (x + 1) * height);
                int begin = int(place - x * height);
                const int end = int(next - x * height);
                black.stretches(int(x / 2), [&](int hidden, int seen) {
                    if (begin < std::min(2 * hidden, end)) cover.add(int(x), begin, std::min(2 * hidden, end));
                    begin = std::max(begin, 2 * seen);
                });
                if (begin < end) cover.add(int(x), begin, end);
            }
        }
        cover.set(uint8_t(1 << i), stored);
    }
    for (int x = 0; x < width; ++x)
        black.stretches(x / 2, [&](int begin, int end) { cover.add(x, 2 * begin, 2 * end); });
    cover.set(no_data, stored);
    // Band and class may both cover exactly one half.
    for (int64_t i = 0; i < int64_t(rows) * columns; ++i)
        if (stored[i] & no_data) stored[i] = no_data;
}
