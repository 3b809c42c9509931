// The black band of an image: near-black areas at its border, found on one bit a pixel.

#include "native.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// One bit a pixel, rows of whole words. Bits beyond the width are zero.
struct Bits {
    int height, width, words;
    std::vector<uint64_t> data;

    Bits(int height, int width)
        : height(height), width(width), words((width + 63) / 64), data(size_t(height) * words) {}

    uint64_t* row(int y) { return data.data() + size_t(y) * words; }
    const uint64_t* row(int y) const { return data.data() + size_t(y) * words; }

    void invert() {
        const uint64_t tail = width % 64 ? (uint64_t(1) << width % 64) - 1 : ~uint64_t(0);
        for (uint64_t& word : data) word = ~word;
        for (int y = 0; y < height; ++y) row(y)[words - 1] &= tail;
    }
};

// Each set pixel spread to the 5x5 pixels around it.
Bits dilated(const Bits& bits) {
    Bits wide(bits.height, bits.width), result(bits.height, bits.width);
    for (int y = 0; y < bits.height; ++y) {
        const uint64_t* from = bits.row(y);
        uint64_t* to = wide.row(y);
        for (int i = 0; i < bits.words; ++i) {
            const uint64_t here = from[i], before = i ? from[i - 1] : 0, after = i + 1 < bits.words ? from[i + 1] : 0;
            to[i] = here | here << 1 | here << 2 | here >> 1 | here >> 2 | before >> 63 | before >> 62 | after << 63 |
                    after << 62;
        }
        if (bits.width % 64) to[bits.words - 1] &= (uint64_t(1) << bits.width % 64) - 1;
    }
    for (int y = 0; y < bits.height; ++y) {
        uint64_t* to = result.row(y);
        for (int near = std::max(0, y - 2); near <= std::min(bits.height - 1, y + 2); ++near)
            for (int i = 0; i < bits.words; ++i) to[i] |= wide.row(near)[i];
    }
    return result;
}

// What stays of an area whose border, but for the image's, moves in by two pixels.
Bits eroded(Bits bits) {
    bits.invert();
    Bits result = dilated(bits);
    result.invert();
    return result;
}

struct Run {
    int y, begin, end;
    int area;  // the first run of its area, as far as known
};

int first_of_area(std::vector<Run>& runs, int i) {
    while (runs[i].area != i) i = runs[i].area = runs[runs[i].area].area;
    return i;
}

// Stretches of set pixels row by row, those that touch above each other joined into areas.
std::vector<Run> areas(const Bits& bits) {
    std::vector<Run> runs;
    int above = 0, above_end = 0;
    for (int y = 0; y < bits.height; ++y) {
        const int first = int(runs.size());
        const uint64_t* row = bits.row(y);
        uint64_t carried = 0;
        for (int i = 0; i < bits.words; ++i) {
            // Bits where a run begins, or the first pixel after one.
            for (uint64_t edges = row[i] ^ (row[i] << 1 | carried); edges; edges &= edges - 1) {
                const int x = 64 * i + __builtin_ctzll(edges);
                if (row[i] >> x % 64 & 1)
                    runs.push_back({y, x, bits.width, int(runs.size())});
                else
                    runs.back().end = x;
            }
            carried = row[i] >> 63;
        }
        for (int i = first; i < int(runs.size()); ++i) {
            while (above < above_end && runs[above].end <= runs[i].begin) ++above;
            for (int j = above; j < above_end && runs[j].begin < runs[i].end; ++j) {
                const int a = first_of_area(runs, i), b = first_of_area(runs, j);
                runs[std::max(a, b)].area = std::min(a, b);
            }
        }
        above = first, above_end = int(runs.size());
    }
    for (int i = 0; i < int(runs.size()); ++i) runs[i].area = first_of_area(runs, i);
    return runs;
}

VECTORISED void brightest_channel(const uint8_t* image, int pixels, uint8_t* brightest) {
    for (int i = 0; i < pixels; ++i)
        brightest[i] = std::max(std::max(image[3 * i], image[3 * i + 1]), image[3 * i + 2]);
}

VECTORISED int64_t capped_sum(const uint8_t* values, int count, uint8_t cap) {
    int sum = 0;
    for (int i = 0; i < count; ++i) sum += std::min(values[i], cap);
    return sum;
}

VECTORISED void not_above(const uint8_t* values, int count, uint8_t limit, uint8_t* low) {
    for (int i = 0; i < count; ++i) low[i] = values[i] <= limit;
}

Bits at_most(const uint8_t* values, int height, int width, uint8_t limit) {
    Bits bits(height, width);
    std::vector<uint8_t> low(size_t(bits.words) * 64);
    for (int y = 0; y < height; ++y) {
        not_above(values + size_t(y) * width, width, limit, low.data());
        for (int i = 0; i < bits.words; ++i)
            for (int part = 0; part < 8; ++part) {
                uint64_t eight;  // bytes of 0 or 1; the product collects them in its uppermost byte
                std::memcpy(&eight, &low[size_t(64) * i + 8 * part], sizeof eight);
                bits.row(y)[i] |= (eight * 0x0102040810204080 >> 56) << 8 * part;
            }
    }
    return bits;
}

}  // namespace

// `image` uint8 (height, width, 3) -> ones in `band`, uint8 (height, width) of zeros, where there is no data.
extern "C" void black_band(const uint8_t* image, int height, int width, int black, double mean_black,
                           int64_t least_pixels, uint8_t* band) {
    std::vector<uint8_t> brightest(size_t(height) * width);
    brightest_channel(image, height * width, brightest.data());
    const Bits near = at_most(brightest.data(), height, width, uint8_t(black));
    const Bits closed = eroded(dilated(near)), opened = dilated(eroded(closed));
    const std::vector<Run> runs = areas(opened);

    struct Area {
        bool on_border;
        int64_t pixels, brightness;
    };
    std::vector<Area> found(runs.size());
    for (const Run& run : runs) {
        Area& area = found[run.area];
        area.on_border |= run.y == 0 || run.y == height - 1 || run.begin == 0 || run.end == width;
        area.pixels += run.end - run.begin;
    }
    const auto candidate = [&](const Run& run) {
        return found[run.area].on_border && found[run.area].pixels >= least_pixels;
    };
    // Capped, so that a bright coast line in a band does not make it an ocean.
    for (const Run& run : runs)
        if (candidate(run))
            found[run.area].brightness +=
                capped_sum(&brightest[size_t(run.y) * width + run.begin], run.end - run.begin, uint8_t(black + 1));
    for (const Run& run : runs)
        if (candidate(run) && double(found[run.area].brightness) <= mean_black * double(found[run.area].pixels))
            std::memset(band + size_t(run.y) * width + run.begin, 1, size_t(run.end - run.begin));
}
