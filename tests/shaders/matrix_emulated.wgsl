// What parts matrix_16 and matrix_8 supply, by plain arithmetic: a matrix to multiply is where it lies in its tile, and sums
// are shared by the invocations of a subgroup, each one in so many as the subgroup has. SIDE stands before this.
alias XMatrix = u32;
alias WMatrix = u32;
// Where they lie in `kept`.
alias Sums = u32;

var<workgroup> kept: array<f32, TEAMS * 4u * SIDE * SIDE>;

fn x_matrix(first: u32) -> XMatrix { return first; }
fn w_matrix(first: u32) -> WMatrix { return first; }

fn no_sums(team: u32, block: u32) -> Sums {
    let sums = (team * 4u + block) * SIDE * SIDE;
    if team < TEAMS {
        let size = subgroupAdd(1u);
        for (var i = subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += size) { kept[sums + i] = 0.0; }
    }
    return sums;
}

fn multiply_add(x: XMatrix, w: WMatrix, sums: Sums) -> Sums {
    let size = subgroupAdd(1u);
    // Four sums at a time: llvmpipe ends every loop of an invocation that has gone round 65535 times in all.
    for (var i = 4u * subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += 4u * size) {
        var sum = vec4<f32>();
        for (var k = 0u; k < SIDE; k++) {
            let first = w + i % SIDE * STRIDE + k;
            let rows = vec4(w_tile[first], w_tile[first + STRIDE], w_tile[first + 2u * STRIDE], w_tile[first + 3u * STRIDE]);
            sum += f32(x_tile[x + i / SIDE * STRIDE + k]) * vec4<f32>(rows);
        }
        for (var j = 0u; j < 4u; j++) { kept[sums + i + j] += sum[j]; }
    }
    return sums;
}

fn store_sums(sums: Sums, first: u32) {
    let size = subgroupAdd(1u);
    for (var i = subgroupExclusiveAdd(1u); i < SIDE * SIDE; i += size) { sums_tile[first + i] = kept[sums + i]; }
}
