// JPEGs as the competition has them, at half size: baseline, YCbCr with the colour at half resolution (4:2:0).
//
// Most of a JPEG's time goes into its Huffman codes, which libjpeg reads one by one. Here one look-up gives up to two
// coefficients, and each adds what it means, at half size already, to the pixels of its block. Anything that is not
// exactly as it should be is left to libjpeg, which decodes it or says what is wrong.
//
// After ITU-T T.81: markers (annex B), the inverse DCT (A.3.3); colours after JFIF 1.02.

#include "huffman.h"
#include "native.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace {

// ---------------------------------------------------------------- blocks

const int ZIGZAG[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                        41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                        30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

// The cosine of frequency `u`, scaled as in the inverse DCT, as a line of `size` pixels, each the mean of 8 / size.
double cosine(int u, int pixel, int size) {
    const int covered = 8 / size;
    double sum = 0;
    for (int x = pixel * covered; x < (pixel + 1) * covered; ++x) sum += std::cos((2 * x + 1) * u * M_PI / 16);
    return sum / covered * (u ? 0.5 : std::sqrt(0.125));
}

typedef float Eight __attribute__((vector_size(32)));

// Blocks that become SIZE x SIZE pixels.
template <int SIZE>
struct Transform {
    static constexpr int PARTS = SIZE * SIZE / 8;
    Eight images[64][PARTS];  // what one unit of the coefficient at each place of the zigzag adds to each pixel

    void set(const uint8_t* quantisation) {
        double cosines[8][SIZE];
        for (int u = 0; u < 8; ++u)
            for (int x = 0; x < SIZE; ++x) cosines[u][x] = cosine(u, x, SIZE);
        for (int k = 0; k < 64; ++k) {
            const double *down = cosines[ZIGZAG[k] / 8], *across = cosines[ZIGZAG[k] % 8];
            for (int i = 0; i < SIZE * SIZE; ++i)
                images[k][i / 8][i % 8] = float(quantisation[k] * down[i / SIZE] * across[i % SIZE]);
        }
    }
};

struct Component {
    int quantisation = 0;
    const Huffman *dc = nullptr, *ac = nullptr;
};

constexpr int BLOCK_BYTES = 256;  // more than a block can take: 64 symbols of 26 bits, and a word to look at

// Decodes one block into SIZE x SIZE pixels around 0; false if its codes are wrong or behind the end.
template <int SIZE>
INLINE bool decode_block(Bits& bits, const Component& component, const Transform<SIZE>& transform, int& previous,
                         float* pixels, int stride) {
    constexpr int PARTS = Transform<SIZE>::PARTS;
    const Symbol difference = bits.symbol(*component.dc, false);
    bits.refill();
    if (difference.run == WRONG) return false;
    bits.skip(difference.length);
    previous += difference.value;
    Eight sums[PARTS];
#pragma GCC unroll 8
    for (int i = 0; i < PARTS; ++i) sums[i] = transform.images[0][i] * float(previous);
    for (int place = 1; place < 64;) {
        Pair pair = bits.pair(*component.ac);
        bits.refill();  // while the table answers
        if (place + pair.run >= 63) {
            // What would be the second belongs to the next block.
            const Symbol last = bits.symbol(*component.ac, true);
            pair = {last.value, 0, last.run, 0, 1, last.length};
            if (last.run == END_OF_BLOCK) {
                bits.skip(last.length);
                break;
            }
        }
        const int first = place + pair.run, second = first + pair.step;
        if (second > 63) return false;
        bits.skip(pair.length);
        const float value = pair.value, second_value = pair.second;
#pragma GCC unroll 8
        for (int i = 0; i < PARTS; ++i)
            sums[i] += transform.images[first][i] * value + transform.images[second][i] * second_value;
        place = second + pair.advance;
    }
#pragma GCC unroll 8
    for (int i = 0; i < PARTS; ++i) {
        const Eight part = sums[i];  // a row of pixels, or two
        for (int y = 0; y < 8 / SIZE; ++y)
            std::memcpy(pixels + (i * 8 / SIZE + y) * stride, reinterpret_cast<const float*>(&part) + y * SIZE,
                        SIZE * sizeof(float));
    }
    return bits.left() > -64;
}

// ---------------------------------------------------------------- the file

struct File {
    uint8_t quantisation[4][64];
    bool quantised[4] = {};
    Huffman dc[2], ac[2];
    int height = 0, width = 0;
    Component components[3];
    const uint8_t *scan = nullptr, *end = nullptr;
};

bool read_quantisation(File& file, const uint8_t* at, const uint8_t* end) {
    for (; at < end; at += 65) {
        if (end - at < 65 || *at > 3) return false;  // 16 bits a number are not baseline
        std::copy_n(at + 1, 64, file.quantisation[*at]);
        file.quantised[*at] = true;
    }
    return true;
}

bool read_huffman(File& file, const uint8_t* at, const uint8_t* end) {
    while (at < end) {
        if (end - at < 17 || (*at & 0xee)) return false;
        int total = 0;
        for (int length = 1; length <= 16; ++length) total += at[length];
        if (total > 256 || end - at < 17 + total) return false;
        const bool ac = *at >> 4;
        if (!(ac ? file.ac : file.dc)[*at & 1].define(at + 1, at + 17, total, ac)) return false;
        at += 17 + total;
    }
    return true;
}

bool read_frame(File& file, const uint8_t* at, const uint8_t* end) {
    if (file.height || end - at != 15 || at[0] != 8 || at[5] != 3) return false;
    file.height = at[1] << 8 | at[2], file.width = at[3] << 8 | at[4];
    for (int i = 0; i < 3; ++i) {
        const uint8_t* component = at + 6 + 3 * i;
        if (component[0] != i + 1 || component[1] != (i ? 0x11 : 0x22) || component[2] > 3) return false;
        file.components[i].quantisation = component[2];
    }
    return true;
}

bool read_scan(File& file, const uint8_t* at, const uint8_t* end) {
    if (!file.height || end - at != 10 || at[0] != 3 || at[7] != 0 || at[8] != 63 || at[9] != 0) return false;
    for (int i = 0; i < 3; ++i) {
        const int tables = at[2 + 2 * i];
        Component& component = file.components[i];
        if (at[1 + 2 * i] != i + 1 || tables & 0xee || !file.quantised[component.quantisation]) return false;
        component.dc = &file.dc[tables >> 4], component.ac = &file.ac[tables & 1];
        if (!component.dc->defined || !component.ac->defined) return false;
    }
    file.scan = end;
    return true;
}

bool read_segment(File& file, int marker, const uint8_t* at, const uint8_t* end) {
    switch (marker) {
        case 0xdb: return read_quantisation(file, at, end);
        case 0xc4: return read_huffman(file, at, end);
        case 0xc0: return read_frame(file, at, end);
        case 0xda: return read_scan(file, at, end);
        case 0xee: return false;  // Adobe's, by which the colours may be others
        default: return (marker >= 0xe0 && marker <= 0xef) || marker == 0xfe;  // of applications; comments
    }
}

bool read_header(File& file, const uint8_t* data, size_t size) {
    const uint8_t *at = data + 2, *end = data + size;
    if (size < 2 || data[0] != 0xff || data[1] != 0xd8) return false;
    file.end = end;
    while (!file.scan) {
        if (end - at < 4 || at[0] != 0xff) return false;
        const int length = at[2] << 8 | at[3];
        if (length < 2 || end - at < 2 + length || !read_segment(file, at[1], at + 4, at + 2 + length)) return false;
        at += 2 + length;
    }
    return true;
}

// The bits of the scan, up to the marker of the image's end and without the zero that follows each 255. False if there
// is no end, or another marker before it.
bool read_codes(const File& file, std::unique_ptr<uint8_t[]>& codes, Bits& bits) {
    codes.reset(new uint8_t[size_t(file.end - file.scan) + BLOCK_BYTES]);
    uint8_t* to = codes.get();
    for (const uint8_t* at = file.scan;;) {
        const auto mark = static_cast<const uint8_t*>(std::memchr(at, 0xff, size_t(file.end - at)));
        if (!mark || file.end - mark < 2) return false;
        to = std::copy(at, mark, to);
        if (mark[1] == 0xd9) break;
        if (mark[1] != 0) return false;
        *to++ = 0xff;
        at = mark + 2;
    }
    std::memset(to, 0, BLOCK_BYTES);
    bits.at = codes.get(), bits.end = to;
    return true;
}

struct Decoder {
    File file;
    Transform<4> luma;
    Transform<8> blue, red;
    std::unique_ptr<uint8_t[]> codes;
    Bits bits;

    // Makes everything ready for the first block; false if this is not for us.
    bool open(const uint8_t* data, size_t size, int height, int width) {
        if (!read_header(file, data, size) || file.height != height || file.width != width) return false;
        const auto quantisation = [&](int i) { return file.quantisation[file.components[i].quantisation]; };
        luma.set(quantisation(0)), blue.set(quantisation(1)), red.set(quantisation(2));
        return read_codes(file, codes, bits);
    }
};

// ---------------------------------------------------------------- colours

INLINE uint8_t level(float value) { return uint8_t(std::min(std::max(int(value + 128.5f), 0), 255)); }

// A row of pixels around 0 to RGB; each colour on its own first, which is what compilers make vectors of.
INLINE void convert(const float* __restrict y, const float* __restrict cb, const float* __restrict cr, int count,
                    uint8_t* __restrict planes, uint8_t* __restrict rgb) {
    uint8_t* __restrict red = planes;
    uint8_t* __restrict green = planes + count;
    uint8_t* __restrict blue = planes + 2 * count;
    for (int i = 0; i < count; ++i) red[i] = level(y[i] + 1.402f * cr[i]);
    for (int i = 0; i < count; ++i) green[i] = level(y[i] - 0.344136f * cb[i] - 0.714136f * cr[i]);
    for (int i = 0; i < count; ++i) blue[i] = level(y[i] + 1.772f * cb[i]);
    for (int i = 0; i < count; ++i) rgb[3 * i] = red[i], rgb[3 * i + 1] = green[i], rgb[3 * i + 2] = blue[i];
}

}  // namespace

// A JPEG of (height, width), both even, to `rgb` uint8 (height / 2, width / 2, 3), each pixel the mean of 2x2. 0 if
// that is not for this decoder; `rgb` then holds anything.
extern "C" VECTORISED int decode_half(const uint8_t* data, size_t size, int height, int width, uint8_t* rgb) {
    const auto decoder = std::make_unique<Decoder>();
    if (height % 2 || width % 2 || !decoder->open(data, size, height, width)) return 0;
    const Component(&components)[3] = decoder->file.components;
    const int stride = (width + 15) / 16 * 8, count = width / 2;
    std::vector<float> pixels(size_t(3) * 8 * size_t(stride));  // of a row of blocks
    std::vector<uint8_t> planes(size_t(3) * size_t(count));     // of a row of pixels
    float *const y = pixels.data(), *const cb = y + 8 * stride, *const cr = cb + 8 * stride;
    Bits bits = decoder->bits;
    bits.refill();
    int previous[3] = {};
    for (int top = 0; top < height / 2; top += 8) {
        for (int x = 0; x < stride; x += 8) {
            for (const int corner : {x, x + 4, x + 4 * stride, x + 4 * stride + 4})
                if (!decode_block(bits, components[0], decoder->luma, previous[0], y + corner, stride)) return 0;
            if (!decode_block(bits, components[1], decoder->blue, previous[1], cb + x, stride)) return 0;
            if (!decode_block(bits, components[2], decoder->red, previous[2], cr + x, stride)) return 0;
        }
        for (int i = 0; i < std::min(8, height / 2 - top); ++i, rgb += 3 * count)
            convert(y + i * stride, cb + i * stride, cr + i * stride, count, planes.data(), rgb);
    }
    return bits.left() >= 0 && bits.left() < 8;  // what fills up the last byte
}
