// The Huffman codes of a baseline JPEG (ITU-T T.81, annexes C and F.2), two coefficients a look-up where they fit.

#pragma once

#include "native.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace {

constexpr int LOOK = 11;           // bits that are looked up at once
constexpr int END_OF_BLOCK = 128;  // as a run or an advance: beyond every place in a block
constexpr int WRONG = 255;         // as a run: no code is like this

struct Symbol {
    int16_t value;
    uint8_t run, length;  // zeros before the value; bits of code and value, 0 if they are more than are looked up
};  // then, if the bits of the code alone are not, `value` is 16 times their number plus the number of the value's

// A symbol, and the one behind it if the bits hold it too.
struct Pair {
    int16_t value, second;    // `second` is 0 where there is none
    uint8_t run, step;        // zeros before the value; places from it to the second
    uint8_t advance, length;  // places from there to what comes next; bits of all
};

// The number that `size` bits stand for (tables F.1 and F.2).
inline int extended(int bits, int size) { return size && bits < 1 << (size - 1) ? bits - (1 << size) + 1 : bits; }

// What a code stands for: a run of zeros and the size of a value. False if baseline has no such thing.
inline bool meaning(int code, bool ac, int* run, int* size) {
    *run = code >> 4, *size = code & 15;
    if (!ac) return code <= 11;
    if (*size) return *size <= 10;
    if (*run == 0) *run = END_OF_BLOCK;
    return *run == 15 || *run == END_OF_BLOCK;
}

struct Huffman {
    bool defined = false;
    Symbol single[1 << LOOK];
    Pair pairs[1 << LOOK];    // of AC tables
    int end[17], offset[17];  // of each length: the code behind its last one; index of code 0 among `codes`
    uint8_t codes[256];       // what they stand for

    // From how many codes there are of each of 16 lengths, and what `total` codes stand for. False if there cannot be so
    // many.
    bool define(const uint8_t* counts, const uint8_t* meanings, int total, bool ac) {
        std::memset(single, 0, sizeof single);
        std::copy_n(meanings, total, codes);
        int code = 0, index = 0;
        for (int length = 1; length <= 16; ++length, code <<= 1) {
            offset[length] = index - code;
            for (int i = 0; i < counts[length - 1]; ++i, ++code, ++index) {
                int run, size;
                if (code + 1 >= 1 << length || (!ac && codes[index] > 15)) return false;  // all ones is no code
                if (length > LOOK) continue;
                const bool known = meaning(codes[index], ac, &run, &size);
                const int rest = LOOK - length - size;
                if (!known || rest < 0) {
                    std::fill_n(&single[code << (LOOK - length)], 1 << (LOOK - length),
                                known ? Symbol{int16_t(length << 4 | size), uint8_t(run), 0} : Symbol{0, WRONG, 1});
                    continue;
                }
                for (int bits = 0; bits < 1 << size; ++bits)
                    std::fill_n(&single[((code << size) + bits) << rest], 1 << rest,
                                Symbol{int16_t(extended(bits, size)), uint8_t(run), uint8_t(length + size)});
            }
            end[length] = code;
        }
        for (int bits = 0; ac && bits < 1 << LOOK; ++bits) pairs[bits] = pair(bits);
        return defined = true;
    }

    // A symbol of more bits than are looked up, from the next 64; its run is WRONG if there is no such code.
    __attribute__((noinline)) Symbol longer(uint64_t next, bool ac) const {
        const Symbol known = single[next >> (64 - LOOK)];
        if (known.value) return symbol(next, known.value >> 4, known.run, known.value & 15);
        for (int length = LOOK + 1; length <= 16; ++length) {
            const int code = int(next >> (64 - length));
            if (code >= end[length]) continue;
            int run, size;
            if (!meaning(codes[(offset[length] + code) & 255], ac, &run, &size)) break;
            return symbol(next, length, run, size);
        }
        return {0, WRONG, 0};
    }

  private:
    static Symbol symbol(uint64_t next, int length, int run, int size) {
        const int bits = int(next << length >> 1 >> (63 - size));
        return {int16_t(extended(bits, size)), uint8_t(run), uint8_t(length + size)};
    }

    Pair pair(int bits) const {
        const Symbol first = single[bits], next = single[bits << first.length & ((1 << LOOK) - 1)];
        Pair pair = {first.value, 0, first.run, 0, 1, first.length};
        if (!first.length || first.run >= END_OF_BLOCK || !next.length || next.run == WRONG ||
            first.length + next.length > LOOK)
            return pair;
        pair.length = uint8_t(first.length + next.length);
        if (next.run == END_OF_BLOCK)
            pair.advance = END_OF_BLOCK;
        else
            pair.second = next.value, pair.step = uint8_t(next.run + 1);
        return pair;
    }
};

// Bits to be read, the next one uppermost. Behind `end` must be some that are zero.
struct Bits {
    const uint8_t *at = nullptr, *end = nullptr;
    uint64_t next = 0;
    int count = 0;

    INLINE void refill() {  // to at least 56, which is enough for two symbols
        uint64_t word;
        std::memcpy(&word, at, sizeof word);
        next |= __builtin_bswap64(word) >> count;
        at += (63 - count) >> 3;
        count |= 56;
    }
    INLINE void skip(int bits) { next <<= bits, count -= bits; }

    // What comes next, not skipped. To be refilled before it is skipped, to which it owes 26 bits at most.
    INLINE Symbol symbol(const Huffman& table, bool ac) const {
        const Symbol symbol = table.single[next >> (64 - LOOK)];
        return __builtin_expect(symbol.length, 1) ? symbol : table.longer(next, ac);
    }
    INLINE Pair pair(const Huffman& table) const {
        const Pair pair = table.pairs[next >> (64 - LOOK)];
        if (__builtin_expect(pair.length, 1)) return pair;
        const Symbol symbol = table.longer(next, true);
        return {symbol.value, 0, symbol.run, 0, 1, symbol.length};
    }

    // How many are left; below zero if more were read than there are.
    int64_t left() const { return 8 * int64_t(end - at) + count; }
};

}  // namespace
