// What parts matrix_16 and matrix_8 supply, by plain arithmetic: a matrix to multiply is where it lies, and the invocations
// of a subgroup share the sums, each one in so many as the subgroup has. SIDE stands before this.
alias XMatrix = u32;
alias WMatrix = u32;
// Enough for subgroups of 4.
struct Sums { values: array<f32, SIDE * SIDE / 4u> }

fn x_matrix(first: u32) -> XMatrix { return first; }
fn w_matrix(first: u32) -> WMatrix { return first; }

fn multiply_add(x: XMatrix, w: WMatrix, sums: Sums) -> Sums {
    let size = subgroupAdd(1u);
    var result = sums;
    for (var i = subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += size) {
        for (var k = 0u; k < SIDE; k++) {
            let product = f32(x_tile[x + i / SIDE * STRIDE + k]) * f32(w_tile[w + i % SIDE * STRIDE + k]);
            result.values[i / size] += product;
        }
    }
    return result;
}

fn store_sums(sums: Sums, first: u32) {
    let size = subgroupAdd(1u);
    var values = sums;
    for (var i = subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += size) { sums_tile[first + i] = values.values[i / size]; }
}
