// What parts matrix_16 and matrix_8 supply, by plain arithmetic: a matrix to multiply is where it lies in its tile, and sums
// are shared by the invocations of a subgroup, each one in so many as the subgroup has. SIDE stands before this.
alias XMatrix = u32;
alias WMatrix = u32;
// Where they lie in `kept`.
alias Sums = u32;

// Enough for subgroups of 4.
const SHARED = SIDE * SIDE / 4u;
var<private> kept: array<f32, 4u * SHARED>;

fn x_matrix(first: u32) -> XMatrix { return first; }
fn w_matrix(first: u32) -> WMatrix { return first; }

fn no_sums(block: u32) -> Sums {
    for (var i = 0u; i < SHARED; i++) { kept[block * SHARED + i] = 0.0; }
    return block * SHARED;
}

fn multiply_add(x: XMatrix, w: WMatrix, sums: Sums) -> Sums {
    let size = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += size) {
        var sum = kept[sums + i / size];
        for (var k = 0u; k < SIDE; k++) {
            sum += f32(x_tile[x + i / SIDE * STRIDE + k]) * f32(w_tile[w + i % SIDE * STRIDE + k]);
        }
        kept[sums + i / size] = sum;
    }
    return sums;
}

fn store_sums(sums: Sums, first: u32) {
    let size = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += size) { sums_tile[first + i] = kept[sums + i / size]; }
}
