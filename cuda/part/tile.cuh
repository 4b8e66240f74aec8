// put(b, row, sum over k of x(b, k) * w(row, k)) for all rows of x and w in f32, by tiles of 64 rows of x and 64 rows of w:
// for types and shapes that tensor cores do not take. A block of 256 threads stages 16 columns of both at a time; a thread
// keeps 4x4 sums. The functions are called within bounds only.
#pragma once
#include "part/prelude.cuh"

constexpr u32 TILE = 64, TILE_STEP = 16, TILE_THREADS = 256;
// Four more than a tile has, so that rows of 16 bytes stay aligned and neighbouring columns begin in other banks.
constexpr u32 TILE_STRIDE = TILE + 4;

struct TileMemory { float x[TILE_STEP * TILE_STRIDE], w[TILE_STEP * TILE_STRIDE]; };

// A shape, and whether neighbouring columns are neighbours in memory; else rows are, and threads read along them.
struct TileShape { u32 batch, rows, cols; bool x_by_rows, w_by_rows; };

// Which row and column of a tile a thread stages, the i-th time.
struct Staged { u32 row, k; };
DEVICE Staged staged(u32 i, bool by_rows) {
    const u32 element = threadIdx.x + i * TILE_THREADS;
    if (by_rows) return {element / TILE_STEP, element % TILE_STEP};
    return {element % TILE, element / TILE};
}

template <class X, class W, class Put>
DEVICE void tile_product(TileMemory& memory, const TileShape& shape, const X& x_at, const W& w_at, const Put& put) {
    const u32 across = (shape.rows + TILE - 1) / TILE, tile = block_index();
    const u32 first_b = tile / across * TILE, first_row = tile % across * TILE;
    if (first_b >= shape.batch) return;
    // Neighbouring threads take neighbouring rows of w, that is columns of the result.
    const u32 at_b = threadIdx.x / 16 * 4, at_row = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
    for (u32 start = 0; start < shape.cols; start += TILE_STEP) {
        UNROLL for (u32 i = 0; i < TILE * TILE_STEP / TILE_THREADS; i++) {
            const Staged x = staged(i, shape.x_by_rows), w = staged(i, shape.w_by_rows);
            const bool x_in = first_b + x.row < shape.batch && start + x.k < shape.cols;
            const bool w_in = first_row + w.row < shape.rows && start + w.k < shape.cols;
            memory.x[x.k * TILE_STRIDE + x.row] = x_in ? x_at(first_b + x.row, start + x.k) : 0.0f;
            memory.w[w.k * TILE_STRIDE + w.row] = w_in ? w_at(first_row + w.row, start + w.k) : 0.0f;
        }
        __syncthreads();
        UNROLL for (u32 k = 0; k < TILE_STEP; k++) {
            const float4 x = *reinterpret_cast<const float4*>(memory.x + k * TILE_STRIDE + at_b);
            const float4 w = *reinterpret_cast<const float4*>(memory.w + k * TILE_STRIDE + at_row);
            const float of_x[4] = {x.x, x.y, x.z, x.w}, of_w[4] = {w.x, w.y, w.z, w.w};
            UNROLL for (u32 b = 0; b < 4; b++) {
                UNROLL for (u32 row = 0; row < 4; row++) sums[b][row] += of_x[b] * of_w[row];
            }
        }
        __syncthreads();
    }
    UNROLL for (u32 b = 0; b < 4; b++) {
        UNROLL for (u32 row = 0; row < 4; row++) {
            const u32 to_b = first_b + at_b + b, to_row = first_row + at_row + row;
            if (to_b < shape.batch && to_row < shape.rows) put(to_b, to_row, sums[b][row]);
        }
    }
}
